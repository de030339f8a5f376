"""Taking a machine's pods away before it goes, so that they run elsewhere and no disruption budget is broken.

As `kubectl drain --ignore-daemonsets --delete-emptydir-data` does: the node takes no more pods, and each of its pods
is evicted, which the API server refuses while its PodDisruptionBudget has none to spare. Pods of DaemonSets, and those
that the node itself made, go with the machine. A worker does this as its node, which may evict its own pods.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable, Sequence

from api.core import node, pod
from api.core.pod import Pod
from api.core.static_pods import is_mirror
from api.errors import ApiError, Conflict, NotFound, ServiceUnavailable, TooManyRequests
from api.meta import DeleteOptions, ObjectMeta, Preconditions
from api.policy.eviction import Eviction
from api.resource import ObjectKey
from client.verbs import Client
from deploy.machine import host
from deploy.machine.plan import KUBELET_PORT
from deploy.report import CannotDo, Report

LEAVING = "steersman.io/leaving"
"""Annotation of a Node that takes no more pods because its machine was to leave: one that joins again takes them."""
ASK_EVERY_S = 2.0
"""How often a refused eviction is asked for again, and pods are looked for that are still there."""
ANSWER_WITHIN_S = 3.0
NAMED_MAX = 5
"""How many pods a sentence names."""


def to_evict(pods: Iterable[Pod]) -> list[Pod]:
    """Return the pods that have to go elsewhere before their machine goes. Pure."""
    return [each for each in pods if not is_mirror(each) and _keeper(each) != "DaemonSet"]


def never_replaced(pods: Iterable[Pod]) -> list[Pod]:
    """Return those of them that nobody would start again. Pure."""
    return [each for each in pods if not _keeper(each) and each.status.phase not in ("Succeeded", "Failed")]


def _keeper(each: Pod) -> str:
    """Return the kind of a pod's controller; empty if it has none."""
    return next((owner.kind for owner in each.metadata.owner_references if owner.controller), "")


def named(pods: Sequence[Pod]) -> str:
    """Return a few pods' names for people. Pure."""
    names = sorted(f"{each.metadata.namespace}/{each.metadata.name}" for each in pods)
    more = f" and {len(names) - NAMED_MAX} more" if len(names) > NAMED_MAX else ""
    return ", ".join(names[:NAMED_MAX]) + more


async def why_lost(client: Client, name: str) -> str:
    """Return why nobody would end the pods of another machine in order; empty if its kubelet does.

    A machine that has just been lost is Ready for a while yet.
    """
    try:
        found = await client.get(node.RESOURCE, ObjectKey("", name))
    except NotFound:
        return f"there is no node {name}"
    if not any(each.type == "Ready" and each.status == "True" for each in found.status.conditions):
        return f"node {name} is not Ready"
    address = next((each.address for each in found.status.addresses if each.type == "InternalIP"), "")
    if not address or not await host.listens(address, KUBELET_PORT, ANSWER_WITHIN_S):
        return f"the kubelet of {name} does not answer at {address}:{KUBELET_PORT}"
    return ""


async def undo(client: Client, name: str) -> None:
    """Let the node `name` take pods again, if it does not because its machine once left."""
    found = await client.get(node.RESOURCE, ObjectKey("", name))
    if LEAVING in found.metadata.annotations:
        about = {"metadata": {"annotations": {LEAVING: None}}, "spec": {"unschedulable": None}}
        await client.patch(node.RESOURCE, ObjectKey("", name), about)


async def drain(client: Client, name: str, timeout_s: float, report: Report, *, force: bool) -> None:
    """Take the pods away from the node `name`, for `timeout_s` at most.

    With `force` pods go that nobody starts again, and what is left at the end of the time goes with the machine.

    Raises:
        CannotDo: pods are left, or nobody would start them again; the node takes no new ones.
    """
    about = {"metadata": {"annotations": {LEAVING: "true"}}, "spec": {"unschedulable": True}}
    await client.patch(node.RESOURCE, ObjectKey("", name), about)
    left = to_evict(await _pods(client, name))
    if (lonely := never_replaced(left)) and not force:
        raise CannotDo(
            f"nobody would start {named(lonely)} again: delete what is not needed any more, or say it with --force. "
            f"{name} takes no new pods: `kubectl uncordon {name}` takes that back"
        )
    refusals: dict[str, str] = {}
    told = 0
    try:
        async with asyncio.timeout(timeout_s):
            while left:
                if len(left) != told:
                    report(f"{len(left)} pod{'s' if len(left) != 1 else ''} to go elsewhere: {named(left)}")
                    told = len(left)
                refusals = {}
                for each in left:
                    if (why := await _evict(client, each)) is not None:
                        refusals[f"{each.metadata.namespace}/{each.metadata.name}"] = why
                await asyncio.sleep(ASK_EVERY_S)
                with contextlib.suppress(ServiceUnavailable):  # an API server that is being restarted comes back
                    left = to_evict(await _pods(client, name))
    except TimeoutError:
        why = f": {next(iter(refusals.values()))}" if refusals else ", which take long to end"
        if not force:
            raise CannotDo(
                f"after {timeout_s:.0f} s {named(left)} {'is' if len(left) == 1 else 'are'} still there{why}. "
                f"Mend that and say it again, or with --force. {name} takes no new pods: `kubectl uncordon {name}` "
                "takes that back"
            ) from None
        report(f"{named(left)} still there{why}; going on, as --force says")


async def _evict(client: Client, each: Pod) -> str | None:
    """Evict a pod; return why it may not go now, or None."""
    if each.metadata.deletion_timestamp:
        return None
    key = ObjectKey(each.metadata.namespace, each.metadata.name)
    body = Eviction(
        metadata=ObjectMeta(name=key.name, namespace=key.namespace),
        delete_options=DeleteOptions(preconditions=Preconditions(uid=each.metadata.uid)),
    )
    with contextlib.suppress(NotFound, Conflict):  # it is gone, or another has its name by now
        try:
            await client.create_subresource(pod.RESOURCE, key, "eviction", body)
        except TooManyRequests as error:
            return error.message
        except ApiError as error:
            if error.code < 500:
                raise
            return error.message
    return None


async def _pods(client: Client, name: str) -> list[Pod]:
    return (await client.list(pod.RESOURCE, field_selector=f"spec.nodeName={name}")).items
