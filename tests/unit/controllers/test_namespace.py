from __future__ import annotations

from api.apps import deployment
from api.core import pod
from controllers.namespace import Remainder, compute_conditions

WELL = {
    "NamespaceDeletionDiscoveryFailure": ("False", "ResourcesDiscovered", "All resources successfully discovered"),
    "NamespaceDeletionGroupVersionParsingFailure": (
        "False",
        "ParsedGroupVersions",
        "All legacy kube types successfully parsed",
    ),
    "NamespaceDeletionContentFailure": (
        "False",
        "ContentDeleted",
        "All content successfully deleted, may be waiting on finalization",
    ),
    "NamespaceContentRemaining": ("False", "ContentRemoved", "All content successfully removed"),
    "NamespaceFinalizersRemaining": (
        "False",
        "ContentHasNoFinalizers",
        "All content-preserving finalizers finished",
    ),
}


def test_an_empty_namespace_has_nothing_to_say() -> None:
    assert compute_conditions([]) == WELL


def test_what_remains_and_what_failed_is_told_by_kind() -> None:
    left = [
        Remainder(pod.RESOURCE, 2, ("a/b", "a/b")),
        Remainder(deployment.RESOURCE, 1, ()),
        Remainder(deployment.RESOURCE, 0, (), "no answer"),
    ]
    assert compute_conditions(left) == {
        **WELL,
        "NamespaceDeletionContentFailure": (
            "True",
            "ContentDeletionFailed",
            "Failed to delete all resource types, 1 remaining: deployments.apps: no answer",
        ),
        "NamespaceContentRemaining": (
            "True",
            "SomeResourcesRemain",
            "Some resources are remaining: deployments.apps has 1 resource instances, pods. has 2 resource instances",
        ),
        "NamespaceFinalizersRemaining": (
            "True",
            "SomeFinalizersRemain",
            "Some content in the namespace has finalizers remaining: a/b in 2 resource instances",
        ),
    }


def test_kinds_that_nobody_could_tell_of_are_a_failure_of_discovery() -> None:
    told = compute_conditions([], "Discovery failed for some groups")["NamespaceDeletionDiscoveryFailure"]
    assert told == ("True", "DiscoveryFailed", "Discovery failed for some groups")
