"""What `kubectl explain` says of fields."""

import re
from typing import Annotated

from api.apps.deployment import DeploymentSpec
from api.batch.job import JobCondition
from api.core.configmap import ConfigMap
from api.core.containers import Container, EphemeralContainer
from api.core.pod import PodSpec
from api.meta import KindCondition, ProbedCondition
from api.schema import TYPE_META, Struct, fields_of, wire, words_of
from tests.unit.api.test_reference import structs


def test_a_docstring_describes_its_struct_and_fields() -> None:
    words = words_of(DeploymentSpec)
    assert words.summary == "What a Deployment's pods shall be, how many, and how they are replaced."
    assert words.fields["replicas"] == "How many pods there shall be; 1 by default."


def test_long_descriptions_are_one_line() -> None:
    assert words_of(PodSpec).fields["init_containers"].endswith("starts then and goes on beside them.")


def test_what_a_parent_says_of_a_field_holds_for_its_children() -> None:
    assert words_of(JobCondition).fields == words_of(ProbedCondition).fields
    assert words_of(EphemeralContainer).fields["image"] == words_of(Container).fields["image"]


def test_a_child_may_say_something_else_of_a_field() -> None:
    class Child(KindCondition):
        """A condition.

        Attributes:
            type: One of two.
        """

    assert words_of(Child).fields["type"] == "One of two."
    assert words_of(Child).fields["status"] == words_of(KindCondition).fields["status"]


class Holder(Struct):
    deployment: Annotated[DeploymentSpec | None, wire(1)] = None
    several: Annotated[list[DeploymentSpec], wire(2)] = []
    silent: Annotated[str, wire(3)] = ""


def test_a_field_that_nobody_describes_is_what_the_struct_in_it_is() -> None:
    assert words_of(Holder).fields == dict.fromkeys(("deployment", "several"), words_of(DeploymentSpec).summary)


def test_what_every_object_begins_with_is_said_in_one_place() -> None:
    words = words_of(ConfigMap).fields
    assert (words["api_version"], words["kind"]) == (TYPE_META["api_version"], TYPE_META["kind"])


def test_every_field_is_described() -> None:
    silent = [
        f"{struct.__module__}.{struct.__name__}.{declared.name}"
        for struct in structs()
        for declared in fields_of(struct).values()
        if declared.name not in words_of(struct).fields
    ]
    assert silent == []


def test_every_struct_says_what_it_is() -> None:
    assert [f"{struct.__module__}.{struct.__name__}" for struct in structs() if not words_of(struct).summary] == []


def test_descriptions_are_sentences_that_say_more_than_a_name() -> None:
    poor = [
        f"{struct.__name__}.{name}: {text}"
        for struct in structs()
        for name, text in {"summary": words_of(struct).summary, **words_of(struct).fields}.items()
        if not re.match(r"[A-Z`$*]", text)
        or not text.endswith(".")
        or len(set(re.findall("[a-z]+", text.lower())) - _EMPTY - set(name.split("_"))) < 2
    ]
    assert poor == []


_EMPTY = {"a", "an", "the", "this", "that", "of", "its", "is", "in", "for", "to"}


def test_only_fields_that_exist_are_described() -> None:
    unknown = [
        f"{struct.__module__}.{struct.__name__}.{name}"
        for struct in structs()
        for name in _attributes(struct)
        if name not in {declared.name for declared in fields_of(struct).values()}
    ]
    assert unknown == []


def _attributes(struct: type[Struct]) -> list[str]:
    """Return the names that a struct's own docstring describes."""
    return re.findall(r"^ {8}(\w+): ", (struct.__doc__ or "").partition("Attributes:")[2], re.MULTILINE)
