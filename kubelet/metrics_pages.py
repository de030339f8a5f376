"""/metrics/resource, /metrics/cadvisor and /metrics/probes: what pods use, under upstream's names; pure.

The first is what metrics servers read, the second what dashboards do (cAdvisor's names, of those that control groups
tell). Each is made from one reading of the groups, by `kubelet.stats` or here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from api.core.pod import Pod
from api.core.static_pods import is_static
from api.timestamps import parse
from component.metrics import Family, Gauge, Labels, Tally, render
from kubelet.cgroups import DeviceUsage, GroupUsage
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
    cpu, memory, started, pod_cpu, pod_memory, swap, pod_swap = _empty(7)
    for pod in summary["pods"]:
        reference = (pod["podRef"]["namespace"], pod["podRef"]["name"])
        pod_cpu[reference], pod_memory[reference] = _cpu_s(pod), pod["memory"]["workingSetBytes"]
        pod_swap[reference] = pod["swap"]["swapUsageBytes"]
        for container in pod["containers"]:
            labels = (container["name"], *reference)
            cpu[labels], memory[labels] = _cpu_s(container), container["memory"]["workingSetBytes"]
            swap[labels] = container["swap"]["swapUsageBytes"]
            started[labels] = parse(container["startTime"]) if container["startTime"] else 0
    page = render(
        [
            _counter("container_cpu_usage_seconds_total", "CPU time of each container.", cpu, of_container),
            _gauge("container_memory_working_set_bytes", "Working set of each container.", memory, of_container),
            _gauge("container_start_time_seconds", "When each container started.", started, of_container),
            _gauge("container_swap_usage_bytes", "What is swapped out of each container.", swap, of_container),
            _counter("node_cpu_usage_seconds_total", "CPU time of the node.", {(): _cpu_s(node)}, ()),
            _gauge("node_memory_working_set_bytes", "Working set of the node.",
                   {(): node["memory"]["workingSetBytes"]}, ()),
            _gauge("node_swap_usage_bytes", "What is swapped out of the node.",
                   {(): node["swap"]["swapUsageBytes"]}, ()),
            _counter("pod_cpu_usage_seconds_total", "CPU time of each pod.", pod_cpu, of_pod),
            _gauge("pod_memory_working_set_bytes", "Working set of each pod.", pod_memory, of_pod),
            _gauge("pod_swap_usage_bytes", "What is swapped out of each pod.", pod_swap, of_pod),
        ]
    )  # fmt: skip
    errors = render([_gauge("resource_scrape_error", "1 if something could not be read.", {(): 0}, ())])
    return _stamped(page, at) + errors


_GROUP: Final[tuple[tuple[str, str, Literal["gauge", "counter"], Callable[[GroupUsage], float]], ...]] = (
    ("container_cpu_cfs_periods_total", "Periods with a limit.", "counter", lambda used: used.periods),
    ("container_cpu_cfs_throttled_periods_total", "Periods in which it had to stand still.", "counter",
     lambda used: used.throttled_periods),
    ("container_cpu_cfs_throttled_seconds_total", "For how long it had to.", "counter",
     lambda used: used.throttled_ns / 1e9),
    ("container_memory_working_set_bytes", "Working set.", "gauge", lambda used: used.working_set_bytes),
    ("container_memory_usage_bytes", "Memory used, with all page cache.", "gauge", lambda used: used.used_bytes),
    ("container_memory_rss", "Memory that is no file's.", "gauge", lambda used: used.rss_bytes),
    ("container_memory_cache", "Page cache.", "gauge", lambda used: used.cached_bytes),
    ("container_memory_swap", "Memory swapped out.", "gauge", lambda used: used.swapped_bytes),
    ("container_spec_memory_limit_bytes", "Limit of memory; 0 for none.", "gauge", lambda used: used.limit_bytes),
)  # fmt: skip
_NETWORK: Final = tuple(
    (f"container_network_{way}_{what}_total", f"{help} {way}d.", f"{key}{counted}")
    for way, key in (("receive", "rx"), ("transmit", "tx"))
    for what, help, counted in (
        ("bytes", "Bytes", "Bytes"),
        ("packets", "Packets", "Packets"),
        ("errors", "Errors of packets", "Errors"),
        ("packets_dropped", "Packets dropped, of those", "Dropped"),
    )
)


_DISK: Final[tuple[tuple[str, str, Callable[[DeviceUsage], int]], ...]] = (
    ("container_fs_reads_total", "Reads from a disk.", lambda used: used.reads),
    ("container_fs_reads_bytes_total", "Bytes read from a disk.", lambda used: used.read_bytes),
    ("container_fs_writes_total", "Writes to a disk.", lambda used: used.writes),
    ("container_fs_writes_bytes_total", "Bytes written to a disk.", lambda used: used.written_bytes),
)


def cadvisor(
    networks: Mapping[str, Sequence[Mapping[str, Any]]],
    machine: Machine,
    pods: Iterable[tuple[Pod, RuntimePod]],
    group_of: Callable[[Pod], str],
    usage: Callable[[str], GroupUsage],
    disks: Callable[[str], Mapping[str, DeviceUsage]],
    at: float,
) -> bytes:
    """Return /metrics/cadvisor.

    Args:
        networks: what went over each pod's interfaces, by its UID.
        machine: what the node has.
        pods: what runs.
        group_of: returns a pod's control group.
        usage: returns what a control group has used and holds.
        disks: returns what it did with each disk.
        at: now, in seconds since the epoch.
    """
    names = ("container", "id", "image", "name", "namespace", "pod")
    used: dict[Labels, GroupUsage] = {("", "/", "", "", "", ""): usage("/")}
    started: dict[Labels, float] = {}
    carried: dict[Labels, Mapping[str, Any]] = {}
    for pod, runtime in pods:
        group, whose = group_of(pod), (pod.metadata.namespace, pod.metadata.name)
        used["", group, "", "", *whose] = usage(group)
        for record in runtime.running:
            labels = (record.name, f"{group}/{record.id}", record.image, record.id, *whose)
            used[labels], started[labels] = usage(labels[1]), record.started_at_s
        for interface in networks.get(pod.metadata.uid, ()):
            carried["", group, "", interface["name"], "", *whose] = interface
    cpu: dict[Labels, float] = {(*labels, "total"): each.cpu_ns / 1e9 for labels, each in used.items()}
    families: list[Family] = [_counter("container_cpu_usage_seconds_total", "CPU time.", cpu, (*names, "cpu"))]
    for name, help, kind, read in _GROUP:
        values = {labels: read(each) for labels, each in used.items() if "cfs" not in name or each.periods}
        families.append((_counter if kind == "counter" else _gauge)(name, help, values, names))
    of_interface = ("container", "id", "image", "interface", "name", "namespace", "pod")
    for name, help, key in _NETWORK:
        counts: dict[Labels, float] = {labels: interface[key] for labels, interface in carried.items()}
        families.append(_counter(name, help, counts, of_interface))
    faults: dict[Labels, float] = {}
    for whose_pages, each in used.items():
        faults[(whose_pages[0], "pgfault", *whose_pages[1:], "hierarchy")] = each.faults
        faults[(whose_pages[0], "pgmajfault", *whose_pages[1:], "hierarchy")] = each.major_faults
    of_fault = ("container", "failure_type", "id", "image", "name", "namespace", "pod", "scope")
    families.append(_counter("container_memory_failures_total", "Pages that were not there.", faults, of_fault))
    by_disk = {(labels[0], disk, *labels[1:]): done for labels in used for disk, done in disks(labels[1]).items()}
    of_disk = ("container", "device", "id", "image", "name", "namespace", "pod")
    for name, help, count in _DISK:
        done_by: dict[Labels, float] = {labels: count(done) for labels, done in by_disk.items()}
        families.append(_counter(name, help, done_by, of_disk))
    families += [
        _gauge("container_last_seen", "When it was last seen.", dict.fromkeys(used, int(at)), names),
        _gauge("container_start_time_seconds", "When it started.", started, names),
        _gauge("machine_cpu_cores", "Processors.", {(): machine.cpus}, ()),
        _gauge("machine_memory_bytes", "Memory.", {(): machine.memory_bytes}, ()),
    ]
    return render(families)


_VOLUME: Final = (
    ("kubelet_volume_stats_capacity_bytes", "Size of a claim's volume.", "capacityBytes"),
    ("kubelet_volume_stats_available_bytes", "What is free of it.", "availableBytes"),
    ("kubelet_volume_stats_used_bytes", "What is used.", "usedBytes"),
    ("kubelet_volume_stats_inodes", "Files it can hold.", "inodes"),
    ("kubelet_volume_stats_inodes_free", "Files it can still hold.", "inodesFree"),
    ("kubelet_volume_stats_inodes_used", "Files it holds.", "inodesUsed"),
)


def kubelet(
    node_name: str, pods: Iterable[tuple[Pod, RuntimePod]], volumes: Iterable[Mapping[str, Any]]
) -> list[Family]:
    """Return what /metrics says of the node beside the process's own; `volumes` are those of `stats.volumes`."""
    found = list(pods)
    full: dict[str, dict[Labels, float]] = {key: {} for _, _, key in _VOLUME}
    for volume in volumes:
        claim = volume["pvcRef"]
        for key, values in full.items():
            values[claim["namespace"], claim["name"]] = volume[key]
    running = sum(len(runtime.running) for _, runtime in found)
    statics = sum(is_static(pod) for pod, _ in found)
    wanted: dict[Labels, float] = {("",): len(found) - statics, ("true",): statics}
    return [
        _gauge("kubelet_node_name", "The node's name; always 1.", {(node_name,): 1}, ("node",)),
        _gauge("kubelet_desired_pods", "Pods that should run.", wanted, ("static",)),
        _gauge("kubelet_running_pods", "Pods with a sandbox.",
               {(): sum(1 for _, runtime in found if runtime.sandboxes)}, ()),
        _gauge("kubelet_running_containers", "Containers by state.", {("running",): running}, ("container_state",)),
        *(_gauge(name, help, full[key], ("namespace", "persistentvolumeclaim")) for name, help, key in _VOLUME),
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
