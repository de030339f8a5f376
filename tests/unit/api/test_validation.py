from collections.abc import Iterable

import pytest

from api import validation
from api.core import configmap, namespace, pod, service
from api.errors import Invalid
from api.meta import LabelSelector, LabelSelectorRequirement, ObjectMeta, OwnerReference
from api.rbac import role
from api.resource import FieldError


def texts(errors: Iterable[FieldError]) -> list[str]:
    return [f"{error.path}: {error.message}" for error in errors]


def metadata(**fields: object) -> ObjectMeta:
    return ObjectMeta(**({"name": "a", "namespace": "d"} | fields))


def check(meta: ObjectMeta, resource: object = configmap.RESOURCE) -> list[str]:
    return texts(validation.check_metadata(meta, resource))


def test_good_metadata_passes() -> None:
    assert check(metadata(labels={"a.io/b": "C_1"}, annotations={"a.io/B": "any thing"}, finalizers=["a.io/x"])) == []
    assert check(ObjectMeta(name="system:node"), role.RESOURCE) == ["metadata.namespace: Required value"]


def test_a_name_is_required_and_follows_the_kinds_rule() -> None:
    assert check(metadata(name="")) == ["metadata.name: Required value: name or generateName is required"]
    assert len(check(metadata(name="A.b"))) == 1
    assert check(metadata(name="a.b")) == []
    assert len(check(metadata(name="a.b"), service.RESOURCE)) == 1
    assert len(check(ObjectMeta(name="a.b"), namespace.RESOURCE)) == 1
    assert check(metadata(name="A:b"), role.RESOURCE) == []


def test_a_prefix_of_generated_names_may_end_in_a_dash() -> None:
    assert check(metadata(generate_name="web-")) == []
    assert len(check(metadata(generate_name="Web-"))) == 1


def test_annotations_have_a_total_size() -> None:
    assert check(metadata(annotations={"a": "x" * 262143})) == []
    assert check(metadata(annotations={"a": "x" * 262144})) == [
        "metadata.annotations: Too long: may not be more than 262144 bytes"
    ]


def test_one_owner_at_most_is_the_controller() -> None:
    owner = {"api_version": "v1", "kind": "Pod", "uid": "u"}
    owners = [OwnerReference(name=name, controller=True, **owner) for name in ("a", "b")]
    assert "Only one reference can have Controller set to true" in check(metadata(owner_references=owners))[0]
    assert check(metadata(owner_references=[OwnerReference(name="a", api_version="v1", kind="Pod")])) == [
        'metadata.ownerReferences.uid: Invalid value: "": uid must not be empty'
    ]


def test_finalizers_are_known_or_qualified() -> None:
    assert check(metadata(finalizers=["orphan", "a.io/b"])) == []
    assert len(check(metadata(finalizers=["mine"]))) == 1
    assert len(check(metadata(finalizers=["orphan", "foregroundDeletion"]))) == 1


def test_identity_never_changes() -> None:
    old = metadata(uid="u", creation_timestamp="2024-01-01T00:00:00Z")
    new = metadata(name="b", uid="w", creation_timestamp="2024-01-01T00:00:00Z")
    assert texts(validation.check_metadata_update(new, old)) == [
        'metadata.name: Invalid value: "b": field is immutable',
        'metadata.uid: Invalid value: "w": field is immutable',
    ]


def test_what_is_being_deleted_gets_no_new_finalizers() -> None:
    old = metadata(deletion_timestamp="2024-01-01T00:00:00Z", finalizers=["a.io/b"])
    new = metadata(deletion_timestamp="2024-01-01T00:00:00Z", finalizers=["a.io/c"])
    (error,) = validation.check_metadata_update(new, old)
    assert error.message.endswith('found new finalizers []string{"a.io/c"}')
    new.finalizers = []
    assert list(validation.check_metadata_update(new, old)) == []


def test_what_the_server_owns_is_put_back() -> None:
    old = metadata(
        uid="u", creation_timestamp="t", generation=3, deletion_timestamp="d", deletion_grace_period_seconds=3
    )
    new = metadata(generation=9, creation_timestamp="other", deletion_timestamp="other")
    validation.keep_metadata(new, old)
    assert new == old


def test_an_end_comes_by_deleting_alone_and_what_names_are_made_of_may_change() -> None:
    old = metadata(uid="u", generate_name="g-")
    new = metadata(generate_name="h-", deletion_timestamp="2030-01-01T00:00:00Z", deletion_grace_period_seconds=5)
    validation.keep_metadata(new, old)
    assert [f"{error.path}: {error.message}" for error in validation.check_metadata_update(new, old)] == [
        "metadata.deletionTimestamp: Invalid value: 2030-01-01 00:00:00 +0000 UTC: field is immutable",
        "metadata.deletionGracePeriodSeconds: Invalid value: 5: field is immutable",
    ]


@pytest.mark.parametrize(
    ("requirement", "count"),
    [
        (LabelSelectorRequirement(key="a", operator="In", values=["b"]), 0),
        (LabelSelectorRequirement(key="a", operator="In"), 1),
        (LabelSelectorRequirement(key="a", operator="Exists", values=["b"]), 1),
        (LabelSelectorRequirement(key="a", operator="Like"), 1),
        (LabelSelectorRequirement(key="", operator="Exists"), 2),
        (LabelSelectorRequirement(key="a", operator="NotIn", values=["b c"]), 1),
    ],
)
def test_selectors_are_checked(requirement: LabelSelectorRequirement, count: int) -> None:
    selector = LabelSelector(match_expressions=[requirement])
    assert len(list(validation.check_label_selector("s", selector))) == count


def test_a_refusal_names_kind_object_and_every_cause() -> None:
    broken = pod.Pod(metadata=metadata(name="B", labels={"-": ""}))
    pod.RESOURCE.default(broken)
    with pytest.raises(Invalid) as caught:
        validation.check(pod.RESOURCE, broken, None)
    assert caught.value.message.startswith('Pod "B" is invalid: [metadata.name: Invalid value: "B": ')
    assert [cause.field for cause in caught.value.causes] == [
        "metadata.name",
        "metadata.labels",
        "spec.containers",
    ]
    assert caught.value.kind == "Pod"


def test_one_cause_needs_no_brackets() -> None:
    broken = configmap.ConfigMap(metadata=metadata(), data={"a/b": ""})
    with pytest.raises(Invalid, match=r'^ConfigMap "a" is invalid: data\[a/b\]: Invalid value: "a/b": a valid config'):
        validation.check(configmap.RESOURCE, broken, None)


def test_owners_are_told_of_together() -> None:
    owner = {"api_version": "v1", "kind": "Pod", "uid": "u"}
    (error,) = check(metadata(owner_references=[OwnerReference(name=name, controller=True, **owner) for name in "ab"]))
    assert error.endswith('Found "true" in references for Pod/a and Pod/b')
    (error,) = check(metadata(owner_references=[OwnerReference(name="a", **{**owner, "api_version": "a/b/c"})]))
    assert error == 'metadata.ownerReferences.apiVersion: Invalid value: "a/b/c": version must not be empty'


def test_a_name_may_be_made_from_what_ends_in_a_dash_and_in_no_dot() -> None:
    assert check(metadata(generate_name="a-")) == check(metadata(generate_name="a.-")) == []
    assert len(check(metadata(generate_name="a."))) == len(check(metadata(generate_name="-"))) == 1
