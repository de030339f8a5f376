"""What `kubectl explain` says of fields."""

from api.apps.deployment import DeploymentSpec
from api.core.pod import PodSpec
from api.schema import fields_of, words_of
from tests.unit.api.test_reference import structs


def test_a_docstring_describes_its_struct_and_fields() -> None:
    words = words_of(DeploymentSpec)
    assert words.summary == "What a Deployment's pods shall be, how many, and how they are replaced."
    assert words.fields["replicas"] == "How many pods there shall be; 1 by default."


def test_long_descriptions_are_one_line() -> None:
    assert words_of(PodSpec).fields["init_containers"].endswith("starts then and goes on beside them.")


def test_only_fields_that_exist_are_described() -> None:
    unknown = [
        f"{struct.__name__}.{name}"
        for struct in structs()
        for name in words_of(struct).fields
        if name not in {declared.name for declared in fields_of(struct).values()}
    ]
    assert unknown == []
