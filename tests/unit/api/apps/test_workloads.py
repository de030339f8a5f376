import copy
import json
from typing import Any

import pytest

from api import serde, validation
from api.apps import deployment, replicaset

SELECTOR = "v1.LabelSelector{{MatchLabels:map[string]string{}, MatchExpressions:[]v1.LabelSelectorRequirement(nil)}}"
EMPTY = SELECTOR.format("(nil)")
OTHER = '{"app":"other"}'
MISMATCH = (
    'spec.template.metadata.labels: Invalid value: map[string]string{"app":"web"}: '
    "`selector` does not match template `labels`"
)


def a_deployment(resource: Any = deployment.RESOURCE, **spec: Any) -> Any:
    template = {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    body = {
        "metadata": {"name": "a", "namespace": "d"},
        "spec": {"selector": {"matchLabels": {"app": "web"}}, "template": template, **spec},
    }
    made = serde.decode(json.dumps(body).encode(), resource, field_validation="Strict").object
    resource.default(made)
    return made


def wrong(new: Any, old: Any = None, resource: Any = deployment.RESOURCE) -> list[str]:
    return [f"{e.path}: {e.message}" for e in validation.find_errors(resource, new, old)]


def test_a_deployment_gets_upstreams_defaults() -> None:
    spec = serde.to_value(a_deployment())["spec"]
    assert spec["replicas"] == 1
    assert spec["strategy"] == {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": "25%", "maxSurge": "25%"}}
    assert (spec["revisionHistoryLimit"], spec["progressDeadlineSeconds"]) == (10, 600)
    assert spec["template"]["spec"]["restartPolicy"] == "Always"
    assert "enableServiceLinks" not in spec["template"]["spec"]
    assert wrong(a_deployment()) == []


def test_an_explicit_zero_is_kept() -> None:
    assert serde.to_value(a_deployment(replicas=0))["spec"]["replicas"] == 0


@pytest.mark.parametrize(
    ("spec", "messages"),
    [
        ({"replicas": -1}, ["spec.replicas: Invalid value: -1: must be greater than or equal to 0"]),
        (
            {"selector": None},
            [
                "spec.selector: Required value",
                MISMATCH,
            ],
        ),
        (
            {"selector": {}},
            [f"spec.selector: Invalid value: {EMPTY}: empty selector is invalid for deployment"],
        ),
        (
            {"selector": {"matchLabels": {"app": "other"}}},
            [MISMATCH],
        ),
        (
            {"strategy": {"type": "Recreate", "rollingUpdate": {"maxSurge": 1}}},
            ["spec.strategy.rollingUpdate: Forbidden: may not be specified when strategy `type` is 'Recreate'"],
        ),
        (
            {"strategy": {"rollingUpdate": {"maxSurge": 0, "maxUnavailable": 0}}},
            [
                "spec.strategy.rollingUpdate.maxUnavailable: Invalid value: intstr.IntOrString{Type:0, IntVal:0, "
                'StrVal:""}: may not be 0 when `maxSurge` is 0'
            ],
        ),
        (
            {"minReadySeconds": 600},
            ["spec.progressDeadlineSeconds: Invalid value: 600: must be greater than minReadySeconds"],
        ),
    ],
)
def test_what_a_deployment_may_not_be(spec: dict[str, Any], messages: list[str]) -> None:
    assert wrong(a_deployment(**spec)) == messages


@pytest.mark.parametrize("share", ["x", "10", "-5%", "101%"])
def test_a_share_is_a_number_or_a_percentage(share: str) -> None:
    assert len(wrong(a_deployment(strategy={"rollingUpdate": {"maxUnavailable": share}}))) == 1


def test_pods_of_a_deployment_are_always_restarted() -> None:
    made = a_deployment()
    made.spec.template.spec.restart_policy = "Never"
    assert wrong(made) == ['spec.template.spec.restartPolicy: Unsupported value: "Never": supported values: "Always"']


@pytest.mark.parametrize("resource", [deployment.RESOURCE, replicaset.RESOURCE], ids=str)
def test_the_selector_never_changes(resource: Any) -> None:
    old = a_deployment(resource)
    new = copy.deepcopy(old)
    new.spec.template.metadata.labels = new.spec.selector.match_labels = {"app": "other"}
    assert wrong(new, old, resource) == [f"spec.selector: Invalid value: {SELECTOR.format(OTHER)}: field is immutable"]


@pytest.mark.parametrize("resource", [deployment.RESOURCE, replicaset.RESOURCE], ids=str)
def test_only_the_status_subresource_writes_status(resource: Any) -> None:
    old = a_deployment(resource)
    old.status.replicas = 3
    new = copy.deepcopy(old)
    new.status.replicas = 5
    resource.prepare_for_update(new, old)
    assert new.status.replicas == 3
    new.status.replicas = -1
    assert len(list(resource.validate_status(new, old))) > 0


def test_columns_show_how_far_it_is() -> None:
    made = a_deployment(replicas=3)
    made.status.ready_replicas = 2
    cells = [column.cell(made, 0.0) for column in deployment.RESOURCE.columns]
    assert (cells[0], cells[-3:]) == ("2/3", ["c", "i", "app=web"])
