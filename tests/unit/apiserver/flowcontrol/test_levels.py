from __future__ import annotations

from typing import Any

import pytest

from api.flowcontrol import flowschema, prioritylevelconfiguration
from api.flowcontrol.flowschema import FlowSchema
from api.validation import find_errors
from apiserver.flowcontrol import defaults
from apiserver.flowcontrol.dump import dump
from apiserver.flowcontrol.levels import Flow, FlowControl
from apiserver.flowcontrol.upkeep import bring_back
from apiserver.request import ANONYMOUS, RequestInfo, User


def control() -> FlowControl:
    made = FlowControl(600, 0.0)
    made.configure(0.0, defaults.flow_schemas(), defaults.priority_levels())
    return made


def classify(user: User, info: RequestInfo) -> Flow:
    return control().classify(user, info)


AUTHENTICATED = "system:authenticated"
NODE = User("system:node:n1", groups=("system:nodes", AUTHENTICATED))
MANAGER = User("system:kube-controller-manager", groups=(AUTHENTICATED,))
ACCOUNT = User("system:serviceaccount:shop:bot", groups=("system:serviceaccounts", AUTHENTICATED))
SYSTEM_ACCOUNT = User("system:serviceaccount:kube-system:dns", groups=("system:serviceaccounts", AUTHENTICATED))
ADMIN = User("kubernetes-admin", groups=("system:masters", AUTHENTICATED))
ALICE = User("alice", groups=(AUTHENTICATED,))


def lease(verb: str, namespace: str) -> RequestInfo:
    return RequestInfo(verb, "", "coordination.k8s.io", "v1", "leases", "", namespace, "x")


def pods(verb: str = "list", namespace: str = "shop") -> RequestInfo:
    return RequestInfo(verb, "", "", "v1", "pods", "", namespace)


@pytest.mark.parametrize(
    ("user", "info", "schema", "level"),
    [
        (ADMIN, pods(), "exempt", "exempt"),
        (ANONYMOUS, RequestInfo("get", "/livez"), "probes", "exempt"),
        (ALICE, RequestInfo("get", "/version"), "global-default", "global-default"),
        (NODE, lease("update", "kube-node-lease"), "system-node-high", "node-high"),
        (NODE, RequestInfo("patch", "", "", "v1", "nodes", "status", "", "n1"), "system-node-high", "node-high"),
        (NODE, pods(), "system-nodes", "system"),
        (MANAGER, lease("update", "kube-system"), "system-leader-election", "leader-election"),
        (MANAGER, RequestInfo("update", "", "", "v1", "endpoints", "", "shop"), "endpoint-controller", "workload-high"),
        (MANAGER, pods(), "kube-controller-manager", "workload-high"),
        (SYSTEM_ACCOUNT, lease("get", "shop"), "workload-leader-election", "leader-election"),
        (SYSTEM_ACCOUNT, pods(), "kube-system-service-accounts", "workload-high"),
        (ACCOUNT, pods(), "service-accounts", "workload-low"),
        (ALICE, pods(), "global-default", "global-default"),
        (User("ghost"), pods(), "catch-all", "catch-all"),
    ],
)
def test_a_request_belongs_to_the_first_schema_that_matches(
    user: User, info: RequestInfo, schema: str, level: str
) -> None:
    found = classify(user, info)
    assert (found.schema, found.level.name) == (schema, level)


def test_flows_are_told_apart_by_user_or_by_namespace() -> None:
    assert classify(ACCOUNT, pods()).distinguisher == ACCOUNT.name
    assert classify(MANAGER, pods(namespace="shop")).distinguisher == "shop"


def test_nominal_seats_follow_the_shares() -> None:
    nominal = {name: level.bounds.nominal for name, level in control().levels.items()}
    assert nominal == {
        "exempt": 0,
        "node-high": 98,
        "system": 74,
        "leader-election": 25,
        "workload-high": 98,
        "workload-low": 245,
        "global-default": 49,
        "catch-all": 13,
    }


def test_a_schema_without_its_level_is_passed_over() -> None:
    made = control()
    schemas = defaults.flow_schemas()
    levels = [one for one in defaults.priority_levels() if one.metadata.name != "global-default"]
    made.configure(0.0, schemas, levels)
    assert made.classify(ALICE, pods()).schema == "catch-all"


def test_what_is_mandatory_acts_as_it_must_whatever_is_stored() -> None:
    made = control()
    schemas = defaults.flow_schemas()
    schemas[0].spec.rules = []
    made.configure(0.0, schemas, [])
    assert made.classify(ADMIN, pods()).level.name == "exempt"


def test_a_changed_schema_takes_over_what_was_remembered() -> None:
    made = control()
    assert made.classify(ALICE, pods()).schema == "global-default"
    mine = FlowSchema()
    mine.metadata.name = "mine"
    mine.metadata.uid = "u1"
    mine.spec = defaults.flow_schemas()[-2].spec
    mine.spec.matching_precedence = 50
    made.configure(1.0, [*defaults.flow_schemas(), mine], defaults.priority_levels())
    found = made.classify(ALICE, pods())
    assert found.schema == "mine"
    assert found.headers["X-Kubernetes-PF-FlowSchema-UID"] == "u1"


def test_a_busy_level_is_lent_the_seats_of_idle_ones() -> None:
    from apiserver.flowcontrol.fair_queue import Ticket

    made = control()
    level = made.levels["workload-low"]
    for number in range(700):
        level.queues.begin(0.0, Ticket("s", number * 7919, initial_seats=1))
    before = level.queues.limit
    made.adjust(10.0)
    assert level.queues.limit > before
    assert level.queues.executing == level.queues.limit
    assert sum(one.queues.limit for name, one in made.levels.items() if name != "exempt") <= 600 + len(made.levels)


def test_a_default_that_somebody_changed_is_brought_back_unless_they_keep_it() -> None:
    wanted, changed = defaults.priority_levels()[1], defaults.priority_levels()[1]
    assert changed.spec.limited is not None
    changed.spec.limited.nominal_concurrency_shares = 1
    assert bring_back(changed, wanted)
    assert changed.spec == wanted.spec
    assert not bring_back(changed, wanted)
    changed.spec = defaults.priority_levels()[2].spec
    changed.metadata.annotations[defaults.AUTOUPDATE] = "false"
    assert not bring_back(changed, wanted)


def test_the_dumps_are_tables() -> None:
    made = control()
    first = dump(made, "dump_priority_levels", {}, 0.0, 0.0)
    assert first is not None
    lines = first.splitlines()
    assert lines[0].startswith("PriorityLevelName,")
    assert len(lines) == 1 + 8
    assert dump(made, "dump_queues", {}, 0.0, 0.0)
    assert dump(made, "dump_requests", {"includeRequestDetails": "1"}, 0.0, 0.0)
    assert dump(made, "dump_nothing", {}, 0.0, 0.0) is None


@pytest.mark.parametrize(
    "wanted", [*defaults.flow_schemas(), *defaults.priority_levels()], ids=lambda one: one.metadata.name
)
def test_defaults_may_be_stored(wanted: Any) -> None:
    resource = flowschema.RESOURCE if isinstance(wanted, FlowSchema) else prioritylevelconfiguration.RESOURCE
    assert not list(find_errors(resource, wanted, None))


def test_what_every_server_has_stays_as_it_is() -> None:
    schema, level = defaults.flow_schemas()[-1], defaults.priority_levels()[-1]
    schema.spec.matching_precedence = 9_999
    assert level.spec.limited is not None
    level.spec.limited.nominal_concurrency_shares = 6
    for resource, obj in ((flowschema.RESOURCE, schema), (prioritylevelconfiguration.RESOURCE, level)):
        (error,) = find_errors(resource, obj, obj)
        assert (error.path, error.message.rpartition(": ")[2]) == (
            "spec",
            "spec of 'catch-all' must equal the fixed value",
        )


def test_what_the_exempt_level_gives_away_may_be_changed_and_stays_changed() -> None:
    level, wanted = defaults.priority_levels()[0], defaults.priority_levels()[0]
    assert level.spec.exempt is not None
    level.spec.exempt.lendable_percent = 50
    assert not list(find_errors(prioritylevelconfiguration.RESOURCE, level, wanted))
    assert not bring_back(level, wanted)
    level.spec.exempt = None
    assert bring_back(level, wanted)
