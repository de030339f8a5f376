"""/metrics/resource, /metrics/cadvisor and /metrics/probes: what pods use, under upstream's names; pure.

The first is what metrics servers read, the second what dashboards do (cAdvisor's names, of those that control groups
tell). Both are made from the numbers of `kubelet.stats`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final

from api.core.pod import Pod
from api.core.static_pods import is_static
from api.timestamps import parse
from component.metrics import Family, Gauge, Labels, Tally, render
from kubelet.runtime.records import RuntimePod

PROBES: Final = Tally(
    "prober_probe_total", "Probes by what came of them.",
    ("container", "namespace", "pod", "pod_uid", "probe_type", "result"),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Machine:
    """What a node has."""

    cpus: int
    memory_bytes: int


def resource(summary: dict[str, Any], at: float) -> bytes:
    """Return /metrics/resource from the body of /stats/summary, whose numbers were read at a time."""
    of_container, of_pod = ("container", "namespace", "pod"), ("namespace", "pod")
    node = summary["node"]
    cpu, memory, started, pod_cpu, pod_memory = _empty(5)
    for pod in summary["pods"]:
        reference = (pod["podRef"]["namespace"], pod["podRef"]["name"])
        pod_cpu[reference], pod_memory[reference] = _cpu_s(pod), pod["memory"]["workingSetBytes"]
        for container in pod["containers"]:
            labels = (container["name"], *reference)
            cpu[labels], memory[labels] = _cpu_s(container), container["memory"]["workingSetBytes"]
            started[labels] = parse(container["startTime"]) if container["startTime"] else 0
    page = render(
        [
            _counter("container_cpu_usage_seconds_total", "CPU time of each container.", cpu, of_container),
            _gauge("container_memory_working_set_bytes", "Working set of each container.", memory, of_container),
            _gauge("container_start_time_seconds", "When each container started.", started, of_container),
            _counter("node_cpu_usage_seconds_total", "CPU time of the node.", {(): _cpu_s(node)}, ()),
            _gauge("node_memory_working_set_bytes", "Working set of the node.",
                   {(): node["memory"]["workingSetBytes"]}, ()),
            _counter("pod_cpu_usage_seconds_total", "CPU time of each pod.", pod_cpu, of_pod),
            _gauge("pod_memory_working_set_bytes", "Working set of each pod.", pod_memory, of_pod),
        ]
    )  # fmt: skip
    errors = render([_gauge("resource_scrape_error", "1 if something could not be read.", {(): 0}, ())])
    return _stamped(page, at) + errors


def cadvisor(
    summary: dict[str, Any], machine: Machine, pods: Iterable[tuple[Pod, RuntimePod]], group_of: Callable[[Pod], str]
) -> bytes:
    """Return /metrics/cadvisor from the body of /stats/summary and what the runtime says of containers."""
    records = {(runtime.uid, record.name): record for _, runtime in pods for record in runtime.running}
    groups = {pod.metadata.uid: group_of(pod) for pod, _ in pods}
    names = ("container", "id", "image", "name", "namespace", "pod")
    cpu, memory, used, started = _empty(4)
    for pod in summary["pods"]:
        reference = pod["podRef"]
        group = groups.get(reference["uid"], "")
        whole = ("", group, "", "", reference["namespace"], reference["name"])
        cpu[*whole, "total"], memory[whole] = _cpu_s(pod), pod["memory"]["workingSetBytes"]
        for container in pod["containers"]:
            record = records.get((reference["uid"], container["name"]))
            identity = (f"{group}/{record.id}", record.image, record.id) if record is not None else ("", "", "")
            labels = (container["name"], *identity, reference["namespace"], reference["name"])
            cpu[*labels, "total"], memory[labels] = _cpu_s(container), container["memory"]["workingSetBytes"]
            used[labels] = container["memory"]["workingSetBytes"]
            started[labels] = record.started_at_s if record is not None else 0
    return render(
        [
            _counter("container_cpu_usage_seconds_total", "CPU time.", cpu, (*names, "cpu")),
            _gauge("container_memory_working_set_bytes", "Working set.", memory, names),
            _gauge("container_memory_usage_bytes", "Memory used, without droppable page cache.", used, names),
            _gauge("container_start_time_seconds", "When it started.", started, names),
            _gauge("machine_cpu_cores", "Processors.", {(): machine.cpus}, ()),
            _gauge("machine_memory_bytes", "Memory.", {(): machine.memory_bytes}, ()),
        ]
    )


def kubelet(node_name: str, pods: Iterable[tuple[Pod, RuntimePod]]) -> list[Family]:
    """Return what /metrics says of the node beside the process's own."""
    found = list(pods)
    running = sum(len(runtime.running) for _, runtime in found)
    statics = sum(is_static(pod) for pod, _ in found)
    wanted: dict[Labels, float] = {("",): len(found) - statics, ("true",): statics}
    return [
        _gauge("kubelet_node_name", "The node's name; always 1.", {(node_name,): 1}, ("node",)),
        _gauge("kubelet_desired_pods", "Pods that should run.", wanted, ("static",)),
        _gauge("kubelet_running_pods", "Pods with a sandbox.",
               {(): sum(1 for _, runtime in found if runtime.sandboxes)}, ()),
        _gauge("kubelet_running_containers", "Containers by state.", {("running",): running}, ("container_state",)),
    ]  # fmt: skip


def _stamped(page: bytes, at: float) -> bytes:
    stamp = f" {round(at * 1000)}".encode()
    return b"".join(line if line[:1] == b"#" else line[:-1] + stamp + b"\n" for line in page.splitlines(True))


def _empty(count: int) -> list[dict[Labels, float]]:
    return [{} for _ in range(count)]


def _gauge(name: str, help: str, values: dict[Labels, float], labels: Labels) -> Gauge:
    return Gauge(name, help, lambda: values, labels)


def _counter(name: str, help: str, values: dict[Labels, float], labels: Labels) -> Gauge:
    return Gauge(name, help, lambda: values, labels, "counter")


def _cpu_s(of: dict[str, Any]) -> float:
    return round(float(of["cpu"]["usageCoreNanoSeconds"]) / 1e9, 6)
