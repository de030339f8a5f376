"""binding: the scheduler's word that a pod belongs to a node.

Sets spec.nodeName and the PodScheduled condition in one write. A pod is bound once: a second binding is a Conflict, and
so is one of a pod that is being deleted.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from api import timestamps
from api.core import binding, pod
from api.core.binding import Binding
from api.core.pod_status import PodCondition
from api.errors import BadRequest
from apiserver.registry import failures
from apiserver.registry.codec import Stored
from apiserver.registry.deletion import Put, Write
from apiserver.request import Answer, Call
from apiserver.verbs import writing
from apiserver.verbs.context import Context

_SUCCESS: Final = msgspec.json.encode(
    {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}
)


async def create_binding(context: Context, call: Call) -> Answer:
    """Bind the pod that the path or, for `POST …/bindings`, the body names.

    Raises:
        NotFound: no such pod. Conflict: it is bound, being deleted, or another than the one meant.
    """
    writing.check_dry_run(call)
    wanted: Any = writing.decode_body(call, binding.RESOURCE)
    name = call.info.name or wanted.metadata.name
    writing.place(call, pod.RESOURCE, wanted)
    if call.info.name:
        writing.take_name(call, wanted)
    _check_target(wanted)
    of, below = (pod.RESOURCE, "binding") if call.info.name else (binding.RESOURCE, "")
    request = writing.admission_request(call, of, "CREATE", wanted, None, subresource=below)
    await context.admission.admit(request)
    wanted = request.object
    _check_target(wanted)
    await context.admission.validate(request)

    async def decide(current: Stored) -> Write:
        obj = current.codec.decode(current.json)
        _bind(obj, wanted, timestamps.render(context.clock.now()))
        return Put(obj)

    registry = context.registries.of(pod.RESOURCE)
    stored, _ = await registry.write(call.info.namespace, name, decide, dry_run=call.dry_run)
    return Answer(_SUCCESS, str(stored.revision), 201)


def _check_target(wanted: Binding) -> None:
    if wanted.target.kind not in ("", "Node"):
        raise BadRequest(f'target.kind: Unsupported value: "{wanted.target.kind}": supported values: "Node", ""')
    if not wanted.target.name:
        raise BadRequest("target.name: Required value: the node to bind the pod to")


def _bind(obj: Any, wanted: Binding, now: str) -> None:
    metadata, name = obj.metadata, obj.metadata.name
    if wanted.metadata.uid and wanted.metadata.uid != metadata.uid:
        why = f"Precondition failed: UID in precondition: {wanted.metadata.uid}, UID in object meta: {metadata.uid}"
        raise failures.conflict(pod.RESOURCE, name, why)
    if metadata.deletion_timestamp:
        raise failures.conflict(pod.RESOURCE, name, f"pod {name} is being deleted, cannot be assigned to a host")
    if obj.spec.node_name:
        why = f"pod {name} is already assigned to node {json_string(obj.spec.node_name)}"
        raise failures.conflict(pod.RESOURCE, name, why)
    if obj.spec.scheduling_gates:
        raise failures.conflict(pod.RESOURCE, name, f"pod {name} has non-empty .spec.schedulingGates")
    obj.spec.node_name = wanted.target.name
    metadata.annotations = {**metadata.annotations, **wanted.metadata.annotations}
    conditions = [condition for condition in obj.status.conditions if condition.type != "PodScheduled"]
    conditions.append(PodCondition(type="PodScheduled", status="True", last_transition_time=now))
    obj.status.conditions = conditions


def json_string(text: str) -> str:
    """Return text in quotes."""
    return msgspec.json.encode(text).decode()
