"""ServiceAccount: who a pod is when it calls the API."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Final

from api.columns import AGE
from api.core.references import LocalObjectReference, ObjectReference
from api.meta import ObjectMeta
from api.resource import Column, Resource
from api.schema import Struct, always, field, wire


class ServiceAccount(Struct):
    """Who a pod is when it calls the API: tokens are made for it, and roles are bound to it.

    Attributes:
        secrets: Secrets that its pods may use, where the account is annotated to allow only these. Tokens are not made
            as Secrets any more.
        image_pull_secrets: Secrets with passwords of registries, added to pods of the account that name none
            themselves.
        automount_service_account_token: Whether its pods' containers find a token; pods can say otherwise. True by
            default.
    """

    api_version: str = always("v1")
    kind: str = always("ServiceAccount")
    metadata: Annotated[ObjectMeta, wire(1)] = field(default_factory=ObjectMeta)
    secrets: Annotated[list[ObjectReference], wire(2, merge_key="name", list_type="map", list_keys=("name",))] = []
    image_pull_secrets: Annotated[list[LocalObjectReference], wire(3, list_type="atomic")] = []
    automount_service_account_token: Annotated[bool | None, wire(4)] = None


_MOUNTABLE: Final = "kubernetes.io/enforce-mountable-secrets"


def warn(new: ServiceAccount, old: ServiceAccount | None) -> Iterator[str]:
    """Warn of the annotation that names which Secrets may be mounted, once it is put on."""
    if _MOUNTABLE in new.metadata.annotations and (old is None or _MOUNTABLE not in old.metadata.annotations):
        instead = "prefer separate namespaces to isolate access to mounted secrets"
        yield f"metadata.annotations[{_MOUNTABLE}]: deprecated in v1.32+; {instead}"


RESOURCE: Final[Resource[ServiceAccount]] = Resource(
    type=ServiceAccount,
    group="",
    version="v1",
    kind="ServiceAccount",
    plural="serviceaccounts",
    namespaced=True,
    short_names=("sa",),
    subresources=("token",),
    warn=warn,
    columns=(
        Column("Secrets", "string", lambda account, now: len(account.secrets), "How many secrets it names."),
        AGE,
    ),
)
