import json

import pytest

from api import timestamps
from api.core import endpoints, event, node, persistentvolumeclaim, pod
from api.core.containers import Container
from api.core.endpoints import EndpointAddress, EndpointPort, EndpointSubset
from api.core.node import NodeCondition
from api.core.pod_status import (
    ContainerState,
    ContainerStateRunning,
    ContainerStateTerminated,
    ContainerStateWaiting,
    ContainerStatus,
    PodCondition,
)
from api.discover import RESOURCES
from api.errors import BadRequest, NotAcceptable
from api.meta import ObjectMeta
from apiserver import table

NOW = timestamps.parse("2024-01-01T01:00:00Z")
START = "2024-01-01T00:00:00Z"


def cells(resource: object, obj: object) -> dict[str, object]:
    made = json.loads(bytes(table.row(resource, obj, b"{}", NOW)))
    return dict(zip([column.name for column in table.columns_of(resource)], made["cells"], strict=True))


def a_pod(phase: str = "Running", *, init: int = 0, containers: int = 1) -> pod.Pod:
    made = pod.Pod(metadata=ObjectMeta(name="a", creation_timestamp=START))
    made.spec.containers = [Container(name=f"c{i}") for i in range(containers)]
    made.spec.init_containers = [Container(name=f"i{i}") for i in range(init)]
    made.status.phase = phase
    return made


def running(name: str = "c0", *, ready: bool = True, restarts: int = 0) -> ContainerStatus:
    return ContainerStatus(
        name=name, ready=ready, restart_count=restarts, state=ContainerState(running=ContainerStateRunning())
    )


def waiting(reason: str, name: str = "c0") -> ContainerStatus:
    return ContainerStatus(name=name, state=ContainerState(waiting=ContainerStateWaiting(reason=reason)))


def ended(code: int, reason: str = "", name: str = "c0") -> ContainerStatus:
    return ContainerStatus(
        name=name, state=ContainerState(terminated=ContainerStateTerminated(exit_code=code, reason=reason))
    )


def test_a_new_pod_is_pending() -> None:
    shown = cells(pod.RESOURCE, a_pod("Pending"))
    assert (shown["Ready"], shown["Status"], shown["Restarts"], shown["Age"]) == ("0/1", "Pending", "0", "60m")
    assert (shown["IP"], shown["Node"], shown["Nominated Node"], shown["Readiness Gates"]) == ("<none>",) * 4


def test_a_running_pod_shows_its_restarts_and_when_the_last_was() -> None:
    made = a_pod()
    status = running(restarts=2)
    status.last_state.terminated = ContainerStateTerminated(finished_at="2024-01-01T00:57:00Z")
    made.status.container_statuses = [status]
    shown = cells(pod.RESOURCE, made)
    assert (shown["Ready"], shown["Status"], shown["Restarts"]) == ("1/1", "Running", "2 (3m ago)")


@pytest.mark.parametrize(
    ("statuses", "text"),
    [
        ([waiting("CrashLoopBackOff")], "CrashLoopBackOff"),
        ([waiting("ContainerCreating")], "ContainerCreating"),
        ([ended(0, "Completed")], "Completed"),
        ([ended(3)], "ExitCode:3"),
        ([ended(137, "OOMKilled")], "OOMKilled"),
        ([ended(0, "Completed"), running("c1")], "NotReady"),
    ],
)
def test_the_state_of_containers_is_the_status(statuses: list[ContainerStatus], text: str) -> None:
    made = a_pod(containers=len(statuses))
    made.status.container_statuses = statuses
    assert cells(pod.RESOURCE, made)["Status"] == text


def test_a_pod_with_one_container_done_and_one_ready_is_running_when_it_is_ready() -> None:
    made = a_pod(containers=2)
    made.status.container_statuses = [ended(0, "Completed"), running("c1")]
    made.status.conditions = [PodCondition(type="Ready", status="True")]
    assert cells(pod.RESOURCE, made)["Status"] == "Running"


@pytest.mark.parametrize(
    ("statuses", "text"),
    [
        ([running("i0")], "Init:0/2"),
        ([ended(0, "Completed", "i0"), waiting("PodInitializing", "i1")], "Init:1/2"),
        ([ended(1, "Error", "i0")], "Init:Error"),
        ([ended(1, "", "i0")], "Init:ExitCode:1"),
        ([waiting("ImagePullBackOff", "i0")], "Init:ImagePullBackOff"),
    ],
)
def test_init_containers_come_first(statuses: list[ContainerStatus], text: str) -> None:
    made = a_pod("Pending", init=2)
    made.status.init_container_statuses = statuses
    made.status.container_statuses = [waiting("PodInitializing")]
    assert cells(pod.RESOURCE, made)["Status"] == text


def test_a_deleted_pod_is_terminating_until_it_has_ended() -> None:
    made = a_pod()
    made.metadata.deletion_timestamp = START
    made.status.container_statuses = [running()]
    assert cells(pod.RESOURCE, made)["Status"] == "Terminating"
    made.status.reason = "NodeLost"
    assert cells(pod.RESOURCE, made)["Status"] == "Unknown"
    made.status.reason, made.status.phase = "", "Succeeded"
    made.status.container_statuses = [ended(0, "Completed")]
    assert cells(pod.RESOURCE, made)["Status"] == "Completed"


def test_sidecars_count_as_containers() -> None:
    made = a_pod(init=1)
    made.spec.init_containers[0].restart_policy = "Always"
    status = running("i0")
    status.started = True
    made.status.init_container_statuses = [status]
    made.status.container_statuses = [running()]
    assert cells(pod.RESOURCE, made)["Ready"] == "2/2"


def test_nodes_show_readiness_and_roles() -> None:
    made = node.Node(metadata=ObjectMeta(name="n", labels={"node-role.kubernetes.io/control-plane": ""}))
    assert cells(node.RESOURCE, made)["Status"] == "Unknown"
    made.status.conditions = [NodeCondition(type="Ready", status="True")]
    made.spec.unschedulable = True
    shown = cells(node.RESOURCE, made)
    assert (shown["Status"], shown["Roles"]) == ("Ready,SchedulingDisabled", "control-plane")


def test_events_begin_with_when_they_were_last_seen() -> None:
    names = [column.name for column in table.columns_of(event.RESOURCE)]
    assert names[0] == "Last Seen"
    assert names.count("Name") == 1


@pytest.mark.parametrize("resource", RESOURCES, ids=str)
def test_every_kind_can_be_shown_empty(resource: object) -> None:
    made = cells(resource, resource.type())
    assert all(value is None or isinstance(value, (str, int, float, bool)) for value in made.values())


def test_rows_hold_what_was_asked_for() -> None:
    made = a_pod()
    assert json.loads(bytes(table.row(pod.RESOURCE, made, b'{"x":1}', NOW, "None")))["object"] is None
    assert json.loads(bytes(table.row(pod.RESOURCE, made, b'{"x":1}', NOW, "Object")))["object"] == {"x": 1}
    partial = json.loads(bytes(table.row(pod.RESOURCE, made, b'{"x":1}', NOW, "Metadata")))["object"]
    assert partial["kind"] == "PartialObjectMetadata"
    assert partial["metadata"]["name"] == "a"


def test_a_table_of_rows_has_columns_unless_told_otherwise() -> None:
    rows = [table.row(pod.RESOURCE, a_pod(), b"{}", NOW)]
    made = json.loads(table.table(pod.RESOURCE, rows, {"resourceVersion": "5"}))
    assert made["metadata"] == {"resourceVersion": "5"}
    assert [column["priority"] for column in made["columnDefinitions"]] == [0] * 5 + [1] * 4
    later = json.loads(table.table(pod.RESOURCE, rows, {}, with_columns=False))
    assert later["columnDefinitions"] is None


def test_accept_headers_are_read_in_order() -> None:
    as_table = "application/json;as=Table;v={};g=meta.k8s.io"
    kubectl = f"{as_table.format('v1')},{as_table.format('v1beta1')},application/json"
    assert table.negotiate(kubectl) == table.Rendering("Table", "v1")
    assert table.negotiate("application/json;as=Table;v=v9;g=meta.k8s.io,application/json") == table.PLAIN
    assert table.negotiate("") == table.PLAIN
    assert table.negotiate("application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1").form == (
        "PartialObjectMetadataList"
    )
    with pytest.raises(NotAcceptable):
        table.negotiate("text/html")
    with pytest.raises(NotAcceptable):
        table.negotiate("application/json;g=meta.k8s.io;v=v1")
    with pytest.raises(NotAcceptable):
        table.negotiate(as_table.format("v1"), has_tables=False)
    with pytest.raises(NotAcceptable):
        table.negotiate("application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1", has_forms=False)
    assert table.negotiate(kubectl, has_tables=False) == table.PLAIN


def test_include_object_takes_three_words() -> None:
    assert [table.include_object(word) for word in ("", "None", "Object")] == ["Metadata", "None", "Object"]
    with pytest.raises(BadRequest):
        table.include_object("All")


def test_what_is_liked_better_comes_first_and_what_names_more_of_equals() -> None:
    assert table.negotiate("application/json;q=0.1,application/yaml;q=0.9").is_yaml
    assert not table.negotiate("*/*,application/yaml;q=0.9").is_yaml
    assert table.negotiate("*/*,application/yaml").is_yaml
    assert table.negotiate("application/yaml;as=Table;v=v1;g=meta.k8s.io") == table.Rendering("Table", "v1", True)


def test_what_upstream_declares_as_text_is_declared_so_though_cells_hold_numbers() -> None:
    declared = {
        (resource.plural, column.name): (column.type, column.format)
        for resource in RESOURCES
        for column in table.columns_of(resource)
    }
    texts = {
        "controllerrevisions": ("Revision",),
        "horizontalpodautoscalers": ("MinPods", "MaxPods", "Replicas"),
        "events": ("Count",),
        "storageclasses": ("AllowVolumeExpansion",),
        "flowschemas": ("MatchingPrecedence",),
        "prioritylevelconfigurations": ("NominalConcurrencyShares", "Queues", "HandSize", "QueueLengthLimit"),
    }
    assert {declared[kind, name] for kind, names in texts.items() for name in names} == {("string", "")}
    assert {declared["volumeattachments", "Attacher"], declared["events", "Name"]} == {("string", "name")}
    assert ("csistoragecapacities", "Age") not in declared


def test_endpoints_show_the_first_of_all_addresses_of_a_port_then_of_the_next() -> None:
    made = endpoints.Endpoints()
    made.subsets = [
        EndpointSubset(
            addresses=[EndpointAddress(ip=ip) for ip in ("1.1.1.1", "::2")],
            ports=[EndpointPort(port=80), EndpointPort(port=81)],
        )
    ]
    assert cells(endpoints.RESOURCE, made)["Endpoints"] == "1.1.1.1:80,[::2]:80,1.1.1.1:81 + 1 more..."


def test_a_claim_that_names_a_volume_shows_what_it_has_of_it() -> None:
    made = persistentvolumeclaim.PersistentVolumeClaim()
    assert cells(persistentvolumeclaim.RESOURCE, made)["Capacity"] == ""
    made.spec.volume_name = "v"
    assert cells(persistentvolumeclaim.RESOURCE, made)["Capacity"] == "0"


def test_protobuf_is_chosen_where_it_comes_first_and_there_is_a_message() -> None:
    media = "application/vnd.kubernetes.protobuf"
    assert table.negotiate(f"{media},application/json").is_protobuf
    assert table.negotiate(f"{media}, */*").is_protobuf
    assert not table.negotiate(f"application/json,{media}").is_protobuf
    assert not table.negotiate(f"{media};q=0.5,application/json").is_protobuf
    assert table.negotiate(f"{media},application/json", has_messages=False) == table.PLAIN
    as_table = "as=Table;v=v1;g=meta.k8s.io"
    assert table.negotiate(f"{media};{as_table},application/json;{as_table}") == table.Rendering("Table")
    partial = table.negotiate(f"{media};as=PartialObjectMetadata;v=v1;g=meta.k8s.io", has_messages=False)
    assert partial == table.Rendering("PartialObjectMetadata", is_protobuf=True)
    for accept in (f"{media};{as_table}", f"{media};stream=other", "application/yaml;stream=watch"):
        with pytest.raises(NotAcceptable, match=f"application/json, application/yaml, {media}"):
            table.negotiate(accept)
    with pytest.raises(NotAcceptable):
        table.negotiate(media, has_messages=False)
    assert table.negotiate(f"{media};stream=watch").is_protobuf
    assert table.takes_json("text/html,*/*;q=0.1") and not table.takes_json(media)
