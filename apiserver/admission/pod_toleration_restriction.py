"""PodTolerationRestriction: which taints pods of a namespace bear without saying so, and which they may bear at all.

Annotations of the namespace say both, as JSON lists of tolerations; the plugin's configuration where there are none.
Pods that ask for something in their resources bear that their node is short of memory, as those do that daemons run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from api.core import namespace, pod
from api.core.namespace import Namespace
from api.core.placement import Toleration
from api.core.pod import qos_class_of
from api.errors import UnclassedError
from api.lister import Lister
from api.resource import ObjectKey
from apiserver.auth.tokens import Read
from apiserver.request import AdmissionRequest

DEFAULTS: Final = "scheduler.alpha.kubernetes.io/defaultTolerations"
WHITELIST: Final = "scheduler.alpha.kubernetes.io/tolerationsWhitelist"
_MEMORY_PRESSURE: Final = Toleration(key="node.kubernetes.io/memory-pressure", operator="Exists", effect="NoSchedule")


@dataclass(frozen=True, slots=True)
class Tolerations:
    """What holds in namespaces that say nothing."""

    default: tuple[Toleration, ...] = ()
    whitelist: tuple[Toleration, ...] = ()
    """Empty: any."""


class PodTolerationRestriction:
    """The plugin."""

    def __init__(self, namespaces: Lister[Namespace], read: Read, cluster: Tolerations) -> None:
        self._namespaces = namespaces
        self._read = read
        self._cluster = cluster

    async def admit(self, request: AdmissionRequest) -> None:
        """Add what the pod does not say.

        Raises:
            UnclassedError: the pod bears what it may not; upstream answers 500, too.
        """
        if not _concerns(request):
            return
        spec: Any = request.object.spec  # type: ignore[union-attr]
        added: list[Toleration] = []
        if request.operation == "CREATE":
            said = await self._said(request, DEFAULTS)
            added += self._cluster.default if said is None else said
        if qos_class_of(spec) != "BestEffort":
            added.append(_MEMORY_PRESSURE)
        if added:
            spec.tolerations = merged([*spec.tolerations, *added])
        await self._check(request)

    async def validate(self, request: AdmissionRequest) -> None:
        """Judge what others have made of it; raises UnclassedError."""
        if _concerns(request):
            await self._check(request)

    async def _check(self, request: AdmissionRequest) -> None:
        borne: Sequence[Toleration] = request.object.spec.tolerations  # type: ignore[union-attr]
        if not borne:
            return
        said = await self._said(request, WHITELIST)
        allowed, scope = (self._cluster.whitelist, "cluster") if said is None else (said, "namespace")
        if allowed and not all(any(_includes(wide, one) for wide in allowed) for one in borne):
            raise UnclassedError(
                "pod tolerations (possibly merged with namespace default tolerations) conflict with its "
                f"{scope} whitelist"
            )

    async def _said(self, request: AdmissionRequest, annotation: str) -> Sequence[Toleration] | None:
        """Return the tolerations that an annotation of the namespace's lists; None: there is no such annotation."""
        key = ObjectKey("", request.namespace)
        found: Any = self._namespaces.get(key) or await self._read(namespace.RESOURCE, key)
        text = found.metadata.annotations.get(annotation)
        if not text:
            return None if text is None else ()
        try:
            return msgspec.json.decode(text, type=list[Toleration])
        except msgspec.MsgspecError as error:
            raise UnclassedError(str(error)) from None


def merged(tolerations: Sequence[Toleration]) -> list[Toleration]:
    """Return tolerations without those that others include; of two that are equal the first stays. Pure."""
    kept: list[Toleration] = []
    for i, one in enumerate(tolerations):
        following = (other for other in tolerations[i + 1 :] if other != one)
        if not any(_includes(other, one) for other in (*kept, *following)):
            kept.append(one)
    return kept


def _includes(wide: Toleration, one: Toleration) -> bool:
    """Whether `wide` bears all that `one` bears."""
    if wide == one:
        return True
    if one.key != wide.key and (wide.key or wide.operator != "Exists"):
        return False
    if wide.effect not in (one.effect, ""):
        return False
    longest = wide.toleration_seconds if wide.effect == "NoExecute" else None
    if longest is not None and (one.toleration_seconds is None or one.toleration_seconds > longest):
        return False
    if wide.operator in ("Equal", ""):
        return one.operator == "Equal" and one.value == wide.value
    return wide.operator == "Exists"


def _concerns(request: AdmissionRequest) -> bool:
    is_write = request.operation in ("CREATE", "UPDATE")
    return request.resource is pod.RESOURCE and not request.subresource and is_write
