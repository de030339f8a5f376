"""IngressClass: a kind of Ingress, and which controller acts on those."""

from __future__ import annotations

from typing import Annotated, Final

from api import names
from api import validation as v
from api.columns import AGE, NONE
from api.meta import ObjectMeta
from api.resource import Column, Resource
from api.schema import Struct, always, field, wire


class IngressClassParametersReference(Struct):
    """An object with parameters for a class's controller.

    Attributes:
        api_group: The group of its kind; unset for the core group.
        kind: What sort of object it is.
        name: The metadata.name of the object that is meant.
        scope: Cluster (the default) or Namespace: where it is.
        namespace: Its namespace; required with the scope Namespace, not allowed otherwise.
    """

    api_group: Annotated[str | None, wire(1)] = None
    kind: Annotated[str, wire(2, required=True)] = always("")
    name: Annotated[str, wire(3, required=True)] = always("")
    scope: Annotated[str | None, wire(4)] = None
    namespace: Annotated[str | None, wire(5)] = None


class IngressClassSpec(Struct):
    """Which controller acts on Ingresses of a class, and with which parameters.

    Attributes:
        controller: The controller's name, a path with a domain in front, such as example.com/ingress. Never changes.
        parameters: Where further settings of the controller are, if it has any.
    """

    controller: Annotated[str, wire(1)] = ""
    parameters: Annotated[IngressClassParametersReference | None, wire(2)] = None


class IngressClass(Struct):
    """A class of Ingresses, and which controller acts on them."""

    api_version: str = always("networking.k8s.io/v1")
    kind: str = always("IngressClass")
    metadata: Annotated[ObjectMeta, wire(1)] = field(default_factory=ObjectMeta)
    spec: Annotated[IngressClassSpec, wire(2)] = field(default_factory=IngressClassSpec)


def default(ingress_class: IngressClass) -> None:
    """Parameters are an object without namespace."""
    parameters = ingress_class.spec.parameters
    if parameters is not None and parameters.scope is None:
        parameters.scope = "Cluster"


def validate(new: IngressClass, old: IngressClass | None) -> v.Errors:
    """Check the controller's name, which never changes, and where the parameters are."""
    controller = new.spec.controller
    if not controller:
        yield v.required("spec.controller")
    elif len(controller) > 250:
        yield v.too_long("spec.controller", 250)
    else:
        domain, slash, _ = controller.partition("/")
        if not slash or names.check_subdomain(domain):
            yield v.invalid("spec.controller", controller, 'must be a domain-prefixed path (such as "acme.io/foo")')
    parameters, where = new.spec.parameters, "spec.parameters"
    if parameters is not None:
        for label, value in (("kind", parameters.kind), ("name", parameters.name)):
            yield from v.check_name(f"{where}.{label}", value, names.check_path_segment, why=f"{label} is required")
        yield from v.check_given(f"{where}.scope", parameters.scope, ("Cluster", "Namespace"))
        if parameters.scope == "Namespace" and not parameters.namespace:
            yield v.required(f"{where}.namespace", "`parameters.scope` is set to 'Namespace'")
        if parameters.scope == "Cluster" and parameters.namespace is not None:
            yield v.forbidden(f"{where}.namespace", "`parameters.scope` is set to 'Cluster'")
    if old is not None:
        yield from v.check_immutable("spec.controller", controller, old.spec.controller)


def _parameters(ingress_class: IngressClass, now: float) -> str:
    parameters = ingress_class.spec.parameters
    if parameters is None:
        return NONE
    group = f".{parameters.api_group}" if parameters.api_group else ""
    return f"{parameters.kind}{group}/{parameters.name}"


RESOURCE: Final[Resource[IngressClass]] = Resource(
    type=IngressClass,
    group="networking.k8s.io",
    version="v1",
    kind="IngressClass",
    plural="ingressclasses",
    namespaced=False,
    default=default,
    validate=validate,
    generation=True,
    columns=(
        Column("Controller", "string", lambda one, now: one.spec.controller, "Who acts on Ingresses of this class."),
        Column("Parameters", "string", _parameters, "What the controller should know."),
        AGE,
    ),
)
