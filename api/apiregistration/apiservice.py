"""APIService: one group and version, and which server has it; without a Service, this one."""

from __future__ import annotations

from typing import Annotated, Final

from api import names
from api import validation as v
from api.admissionregistration.webhooks import check_service
from api.columns import AGE
from api.meta import KindCondition, ObjectMeta
from api.resource import Column, Resource
from api.schema import Int32, Struct, always, field, wire

_GROUP_PRIORITY_MAX: Final = 20_000
_VERSION_PRIORITY_MAX: Final = 1_000


class APIServiceCondition(KindCondition):
    """One question about an APIService (`type`), its answer, and since when."""


class APIServiceStatus(Struct):
    """Whether the server behind an APIService can be reached.

    Attributes:
        conditions: Available: whether it can.
    """

    conditions: Annotated[
        list[APIServiceCondition], wire(1, merge_key="type", list_type="map", list_keys=("type",))
    ] = []


class ServiceReference(Struct):
    """A Service of the cluster behind which an API server listens.

    Attributes:
        namespace: The Service's namespace.
        name: The Service's name.
        port: The Service's port, which must speak HTTPS; 443 by default.
    """

    namespace: Annotated[str, wire(1)] = ""
    name: Annotated[str, wire(2)] = ""
    port: Annotated[Int32 | None, wire(3)] = None


class APIServiceSpec(Struct):
    """Which server has an API group and version, and how it ranks among others.

    Attributes:
        service: Where that server is; unset, this server has it.
        group: The API group that is served, such as metrics.k8s.io.
        version: The version, such as v1.
        insecure_skip_tls_verify: Whether the server's certificate is not checked, which is unsafe; false by default.
            Not together with a caBundle.
        ca_bundle: Certificates of authorities that vouch for the server, in PEM form; by default those that the API
            server's machine trusts.
        group_priority_minimum: How the group ranks among groups where clients have a choice: higher is preferred, 1 to
            20000. The highest of its versions counts.
        version_priority: How the version ranks in its group: higher is preferred, 1 to 1000; equal ones go by how
            stable and new their names are.
    """

    service: Annotated[ServiceReference | None, wire(1)] = None
    group: Annotated[str, wire(2)] = ""
    version: Annotated[str, wire(3)] = ""
    insecure_skip_tls_verify: Annotated[bool, wire(4)] = field(name="insecureSkipTLSVerify", default=False)
    ca_bundle: Annotated[bytes, wire(5, list_type="atomic")] = b""
    group_priority_minimum: Annotated[Int32, wire(7, required=True)] = always(0)
    version_priority: Annotated[Int32, wire(8, required=True)] = always(0)


class APIService(Struct):
    """One API group and version, and which server has it. Its name is VERSION.GROUP."""

    api_version: str = always("apiregistration.k8s.io/v1")
    kind: str = always("APIService")
    metadata: Annotated[ObjectMeta, wire(1)] = field(default_factory=ObjectMeta)
    spec: Annotated[APIServiceSpec, wire(2)] = field(default_factory=APIServiceSpec)
    status: Annotated[APIServiceStatus, wire(3)] = field(default_factory=APIServiceStatus)


def default(api_service: APIService) -> None:
    """A Service listens where HTTPS does."""
    if api_service.spec.service is not None and api_service.spec.service.port is None:
        api_service.spec.service.port = 443


def validate(new: APIService, old: APIService | None) -> v.Errors:
    """Check that the name says what is served, and who serves it."""
    spec = new.spec
    wanted = f"{spec.version}.{spec.group}"
    if new.metadata.name != wanted and not names.check_path_segment(new.metadata.name):
        yield v.invalid("metadata.name", new.metadata.name, f'must be `spec.version+"."+spec.group`: "{wanted}"')
    if spec.group:
        yield from v.check_name("spec.group", spec.group, names.check_subdomain)
    elif spec.version != "v1":
        yield v.required("spec.group", "only v1 may have an empty group and it better be legacy kube")
    for message in names.check_label_1035(spec.version):
        yield v.invalid("spec.version", spec.version, message)
    if not 0 < spec.group_priority_minimum <= _GROUP_PRIORITY_MAX:
        yield v.invalid(
            "spec.groupPriorityMinimum",
            spec.group_priority_minimum,
            f"must be positive and less than {_GROUP_PRIORITY_MAX}",
        )
    if not 0 < spec.version_priority <= _VERSION_PRIORITY_MAX:
        yield v.invalid(
            "spec.versionPriority", spec.version_priority, f"must be positive and less than {_VERSION_PRIORITY_MAX}"
        )
    if spec.service is None:
        if spec.ca_bundle:
            yield v.invalid(
                "spec.caBundle", f"{len(spec.ca_bundle)} bytes", "local APIServices may not have a caBundle"
            )
        if spec.insecure_skip_tls_verify:
            yield v.invalid("spec.insecureSkipTLSVerify", True, "local APIServices may not have insecureSkipTLSVerify")
        return
    yield from check_service("spec.service", spec.service, why="")
    if spec.insecure_skip_tls_verify and spec.ca_bundle:
        yield v.invalid("spec.insecureSkipTLSVerify", True, "may not be true if caBundle is present")


def prepare_for_create(api_service: APIService) -> None:
    """Begin with nothing known, but that what this server has itself is there."""
    api_service.status = APIServiceStatus()
    if api_service.spec.service is None:
        api_service.status.conditions = [
            APIServiceCondition(
                type="Available",
                status="True",
                reason="Local",
                message="Local APIServices are always available",
                last_transition_time=api_service.metadata.creation_timestamp,
            )
        ]


def _service(api_service: APIService, now: float) -> str:
    service = api_service.spec.service
    return f"{service.namespace}/{service.name}" if service is not None else "Local"


def _available(api_service: APIService, now: float) -> str:
    for condition in api_service.status.conditions:
        if condition.type == "Available":
            is_true = condition.status == "True"
            return "True" if is_true else f"{condition.status} ({condition.reason})"
    return "Unknown"


def prepare_for_status_update(new: APIService, old: APIService) -> None:
    """Keep the spec, and the metadata that says what belongs to whom."""
    new.spec = old.spec
    for name in ("labels", "annotations", "finalizers", "owner_references"):
        setattr(new.metadata, name, getattr(old.metadata, name))


RESOURCE: Final[Resource[APIService]] = Resource(
    type=APIService,
    group="apiregistration.k8s.io",
    version="v1",
    kind="APIService",
    plural="apiservices",
    namespaced=False,
    check_name=names.check_path_segment,
    categories=("api-extensions",),
    subresources=("status",),
    default=default,
    validate=validate,
    prepare_for_create=prepare_for_create,
    prepare_for_status_update=prepare_for_status_update,
    columns=(
        Column("Service", "string", _service, "Who serves it."),
        Column("Available", "string", _available, "Whether it can be used."),
        AGE,
    ),
)
