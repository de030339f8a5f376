"""Objects that are served in two versions and stored in one."""

import msgspec

from api.autoscaling import horizontalpodautoscaler as v1
from api.autoscaling.v2 import horizontalpodautoscaler as v2
from api.core import event as core
from api.events import event as events
from tests.unit.api.builders import cells, made, wrong

AUTOSCALER = """
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: web}
  maxReplicas: 5
  metrics:
  - {type: Resource, resource: {name: cpu, target: {type: Utilization, averageUtilization: 60}}}
  - {type: Resource, resource: {name: memory, target: {type: AverageValue, averageValue: 1Gi}}}
  behavior: {scaleDown: {stabilizationWindowSeconds: 60}}
"""
EVENT = """
apiVersion: events.k8s.io/v1
kind: Event
regarding: {kind: Pod, name: p, namespace: d}
eventTime: "2024-01-01T00:00:00.000001Z"
reportingController: example.com/c
reportingInstance: c-1
action: Doing
reason: Done
type: Normal
note: hello
series: {count: 2, lastObservedTime: "2024-01-01T00:00:01.000000Z"}
"""


def test_an_autoscaler_read_in_v1_and_written_back_loses_nothing() -> None:
    stored = made(AUTOSCALER)
    shown = v1.from_stored(stored)
    assert shown.spec.target_cpu_utilization_percentage == 60
    assert set(shown.metadata.annotations) == {v1.METRICS, v1.BEHAVIOR}
    assert v1.to_stored(shown) == stored
    assert wrong(shown) == []
    assert cells(shown) == cells(stored)


def test_an_autoscaler_made_in_v1_aims_at_80_percent_of_cpu() -> None:
    made_in_v1 = v1.HorizontalPodAutoscaler()
    v1.RESOURCE.default(made_in_v1)
    stored = v1.to_stored(made_in_v1)
    assert stored.spec.metrics == [v2.cpu_metric(80)]


def test_what_somebody_garbled_in_an_annotation_counts_for_nothing() -> None:
    shown = v1.from_stored(made(AUTOSCALER))
    shown.metadata.annotations[v1.METRICS] = "{"
    assert v1.to_stored(shown).spec.metrics == [v2.cpu_metric(60)]


def test_an_event_is_the_same_in_both_groups() -> None:
    shown = made(EVENT)
    stored = events.to_stored(shown)
    assert (stored.involved_object.name, stored.message, stored.reporting_component) == ("p", "hello", "example.com/c")
    assert events.from_stored(stored) == shown
    assert cells(shown, 1e9) == cells(stored, 1e9)
    selected = events.RESOURCE.selectable_fields["regarding.name"](shown)
    assert selected == core.RESOURCE.selectable_fields["involvedObject.name"](stored)


def test_a_new_event_is_complete_and_says_so_once() -> None:
    old = made(EVENT)
    assert wrong(old) == []
    bare = msgspec.structs.replace(old, event_time="", type="Odd")
    assert [error.partition(":")[0] for error in wrong(bare)] == ["eventTime", "type"]
    again = msgspec.structs.replace(old, note="other")
    again.series = events.EventSeries(count=3, last_observed_time="2024-01-01T00:00:02.000000Z")
    assert [error.partition(":")[0] for error in wrong(again, old)] == ["message"]
