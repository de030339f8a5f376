"""What operators read of a node beside its pods: log files, the kubelet's configuration, what the runtime has running.

Paths and forms are upstream's: `/logs/` is a directory to be walked, `/configz` a KubeletConfiguration
(kubelet.config.k8s.io/v1beta1), `/runningpods/` a PodList made from the runtime alone.
"""

from __future__ import annotations

import html
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import msgspec
from aiohttp import web

from api.quantity import from_bytes
from kubelet import image_gc, log_rotation, machine, pressure
from kubelet.durations import as_go
from kubelet.runtime.records import RuntimePod

LOG_DIRECTORY: Final = Path("/var/log")


def routes(
    configuration: Mapping[str, Any], running: Callable[[], Iterable[RuntimePod]], log_directory: Path | None
) -> list[web.RouteDef]:
    """Return the pages' routes; a node without a log directory has none to show."""

    async def configz(_: web.Request) -> web.Response:
        return _json({"kubeletconfig": dict(configuration)})

    async def running_pods(_: web.Request) -> web.Response:
        return _json(running_pod_list(running()))

    async def log_files(request: web.Request) -> web.StreamResponse:
        if log_directory is None:
            return web.Response(status=404, text="404 page not found\n")
        return log_page(log_directory, request.match_info["path"], request.path)

    async def to_log_files(request: web.Request) -> web.Response:
        return web.Response(status=301, headers={"Location": "logs/"})

    async def checkpoint(request: web.Request) -> web.Response:
        what = "/".join(request.match_info[part] for part in ("namespace", "pod", "container"))
        return web.Response(status=500, text=f"checkpointing of {what} failed (this node takes no checkpoints)")

    return [
        web.get("/configz", configz),
        web.get("/runningpods/", running_pods),
        web.get("/logs", to_log_files),
        web.get("/logs/{path:.*}", log_files),
        web.post("/checkpoint/{namespace}/{pod}/{container}", checkpoint),
    ]


def _json(value: Any) -> web.Response:
    return web.Response(body=msgspec.json.encode(value), content_type="application/json")


def log_page(root: Path, path: str, asked: str) -> web.StreamResponse:
    """Return a directory's names or a file's content; nothing outside of `root`, whatever links say."""
    place = (root / path).resolve()
    top = root.resolve()
    if place != top and top not in place.parents:
        return web.Response(status=404, text="404 page not found\n")
    try:
        if place.is_dir():
            if not asked.endswith("/"):
                return web.Response(status=301, headers={"Location": f"{quote(place.name)}/"})
            names = sorted(f"{each.name}/" if each.is_dir() else each.name for each in place.iterdir())
            links = (f'<a href="{quote(name)}">{html.escape(name)}</a>\n' for name in names)
            page = (
                f'<!doctype html>\n<meta name="viewport" content="width=device-width">\n<pre>\n{"".join(links)}</pre>\n'
            )
            return web.Response(text=page, content_type="text/html")
        if place.is_file():
            return web.FileResponse(place, headers={"Content-Type": "text/plain; charset=utf-8"})
    except PermissionError:
        return web.Response(status=403, text="403 Forbidden\n")
    return web.Response(status=404, text="404 page not found\n")


def running_pod_list(pods: Iterable[RuntimePod]) -> dict[str, Any]:
    """Return the pods that have a container running, as far as the runtime knows them."""
    items = [
        {
            "metadata": {"name": pod.name, "namespace": pod.namespace, "uid": pod.uid, "creationTimestamp": None},
            "spec": {
                "containers": [{"name": record.name, "image": record.image, "resources": {}} for record in pod.running]
            },
            "status": {},
        }
        for pod in sorted(pods, key=lambda pod: (pod.namespace, pod.name, pod.uid))
        if pod.running
    ]
    return {"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": items}


def configuration_of(settings: Any, port: int) -> dict[str, Any]:
    """Return the KubeletConfiguration that says what the process's settings (`kubelet.__main__`) say."""
    return {
        "kind": "KubeletConfiguration",
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "address": settings.bind_address,
        "port": port,
        "authentication": {
            "x509": {"clientCAFile": str(settings.client_ca)},
            "webhook": {"enabled": True, "cacheTTL": "2m0s"},
            "anonymous": {"enabled": False},
        },
        "authorization": {"mode": "Webhook", "webhook": {"cacheAuthorizedTTL": "5m0s", "cacheUnauthorizedTTL": "30s"}},
        "rotateCertificates": settings.rotate_certificates,
        "clusterDomain": settings.cluster_domain,
        "clusterDNS": list(settings.cluster_dns),
        "nodeStatusUpdateFrequency": f"{settings.node_status_update_s:g}s",
        "nodeLeaseDurationSeconds": settings.node_lease_duration_s,
        "imageGCHighThresholdPercent": image_gc.HIGH_PERCENT,
        "imageGCLowThresholdPercent": image_gc.LOW_PERCENT,
        "containerLogMaxSize": from_bytes(log_rotation.SIZE_BYTES_MAX),
        "containerLogMaxFiles": log_rotation.FILES_MAX,
        "podLogsDir": settings.pod_logs_dir,
        "evictionHard": {
            "memory.available": from_bytes(pressure.MEMORY_BYTES_MIN),
            "nodefs.available": f"{pressure.FREE_FRACTION_MIN:.0%}",
            "pid.available": f"{pressure.FREE_FRACTION_MIN:.0%}",
        },
        "evictionPressureTransitionPeriod": as_go(pressure.TRANSITION_S),
        "cgroupDriver": "cgroupfs",
        "cgroupsPerQOS": True,
        "enforceNodeAllocatable": ["pods"],
        "cgroupRoot": settings.cgroup_root,
        "maxPods": machine.PODS_MAX,
        "containerRuntimeEndpoint": settings.runtime_endpoint,
        "allowedUnsafeSysctls": list(settings.allowed_unsafe_sysctls),
        "staticPodPath": settings.pod_manifest_path,
        "enableServer": True,
        "enableDebuggingHandlers": True,
        "enableSystemLogHandler": True,
    }
