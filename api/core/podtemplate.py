"""PodTemplate: the template of a pod, kept by itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Final

from api import validation as v
from api.columns import joined, labels_text
from api.core import gated
from api.core.containers import Container
from api.core.pod import PodTemplateSpec
from api.core.pod_defaults import default_template
from api.core.pod_validation import check_template
from api.core.pod_warnings import Warnings, has_changed, warnings_of_template
from api.meta import ObjectMeta
from api.resource import Column, Resource
from api.schema import Struct, always, field, wire


class PodTemplate(Struct):
    """The template of a pod, kept by itself. Nothing is made of it.

    Attributes:
        template: The labels and the spec that pods of it would have.
    """

    api_version: str = always("v1")
    kind: str = always("PodTemplate")
    metadata: Annotated[ObjectMeta, wire(1)] = field(default_factory=ObjectMeta)
    template: Annotated[PodTemplateSpec, wire(2)] = field(default_factory=PodTemplateSpec)


def default(template: PodTemplate) -> None:
    """Default what is in the template as a pod."""
    default_template(template.template)


def validate(new: PodTemplate, old: PodTemplate | None) -> v.Errors:
    """Check the template."""
    yield from check_template("template", new.template)


def _containers(template: PodTemplate) -> Sequence[Container]:
    return template.template.spec.containers


def warn(new: PodTemplate, old: PodTemplate | None) -> Warnings:
    """Warn of what the template of a pod says."""
    if has_changed(new, old):
        yield from warnings_of_template("template", new.template)


RESOURCE: Final[Resource[PodTemplate]] = Resource(
    type=PodTemplate,
    group="",
    version="v1",
    kind="PodTemplate",
    plural="podtemplates",
    namespaced=True,
    default=default,
    drop_gated=lambda new, old: gated.drop_of_pod(new.template.spec, old.template.spec if old is not None else None),
    validate=validate,
    warn=warn,
    generation=True,
    columns=(
        Column(
            "Containers",
            "string",
            lambda template, now: joined(container.name for container in _containers(template)),
            "The names of the containers in the template.",
        ),
        Column(
            "Images",
            "string",
            lambda template, now: joined(container.image for container in _containers(template)),
            "The images of the containers in the template.",
        ),
        Column(
            "Pod Labels",
            "string",
            lambda template, now: labels_text(template.template.metadata.labels),
            "The labels of the pods made from it.",
        ),
    ),
)
