"""Starts a pod's containers: image, environment, mounts, hooks; and says of each what it waits for.

What fails is not raised: it is what the container waits for (`waiting`), an event, and a time to try again.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass

from api.core.configmap import ConfigMap
from api.core.pod import Pod
from api.core.secret import Secret
from api.errors import ApiError
from api.resource import ObjectKey
from client.verbs import key_of
from kubelet.durations import as_go
from kubelet.environment import ConfigError, compute_environment, names_of_objects
from kubelet.hooks import HookFailed, describe_failure, run_hook
from kubelet.lifecycle import STOP_GRACE_MIN_S, AnyContainer, Start, grace_period_s
from kubelet.node import Node
from kubelet.pod_parts import all_containers, field_path
from kubelet.pod_setup import PodSetup
from kubelet.runtime.containers import container_config
from kubelet.runtime.cri import CriError, RuntimeUnavailable
from kubelet.runtime.images import ImageError, PullReporter
from kubelet.runtime.records import RuntimePod
from kubelet.status import Waiting
from kubelet.stop_signal import StopSignal
from kubelet.volumes.pod_volumes import container_devices, container_mounts
from proto.cri import api_pb2 as pb

log = logging.getLogger(__name__)

CONFIG_RETRY_S = 10.0
_OWN_EVENTS = {"InvalidImageName": "InspectFailed", "ErrImageNeverPull": "ErrImageNeverPull"}
"""Reason of the event that tells what is wrong with an image, by what its container waits for."""


class ContainerStarter:
    """Starts the containers of one pod; its worker says which, and when."""

    def __init__(self, node: Node, setup: PodSetup, stop: StopSignal) -> None:
        self._node = node
        self._setup = setup
        self._stop = stop
        self.waiting: dict[str, Waiting] = {}
        """What containers that did not start wait for, by name."""

    def forget_config_errors(self) -> None:
        """Take it that what was missing for some may be there by now."""
        self.waiting = {k: w for k, w in self.waiting.items() if w.reason != "CreateContainerConfigError"}

    async def start(self, pod: Pod, runtime: RuntimePod, start: Start) -> float | None:
        """Start an attempt at a container; return when to try again if it failed."""
        container = next(c for c in all_containers(pod) if c.name == start.name)
        sandbox = runtime.ready_sandbox
        assert sandbox is not None
        node, recorder, setup = self._node, self._node.recorder, self._setup
        path = field_path(pod, container)
        config = setup.sandbox_config(pod, sandbox.attempt)
        if not setup.volumes and pod.spec.volumes:
            await setup.set_up_volumes(pod, runtime)
        try:
            auths = await self._stop.unless_set(node.pull_secrets(pod))
            reporter = _PullEvents(node, pod, path)
            policy = container.image_pull_policy or ("Always" if _is_latest(container.image) else "IfNotPresent")
            image = await self._stop.unless_set(node.images.ensure(container.image, policy, config, auths, reporter))
        except ImageError as error:
            self.waiting[start.name] = Waiting(error.reason, error.message)
            if error.reason == "ImagePullBackOff":
                message = f'Back-off pulling image "{container.image}"'
                recorder.event(pod, "Normal", "BackOff", message, field_path=path)
            elif error.reason == "ErrImagePull":
                message = f'Failed to pull image "{container.image}": {error.message}'
                recorder.event(pod, "Warning", "Failed", message, field_path=path)
            elif error.reason in _OWN_EVENTS:
                recorder.event(pod, "Warning", _OWN_EVENTS[error.reason], error.message, field_path=path)
            recorder.event(pod, "Warning", "Failed", f"Error: {error.reason}", field_path=path)
            delay_s = max(0.0, error.retry_at - node.clock.monotonic())
            # The back-off is shown as soon as it begins, like upstream's second look does.
            return node.clock.now() + (min(1.0, delay_s) if error.reason == "ErrImagePull" else delay_s)
        try:
            objects = await self._fetch_objects(pod, container)
            facts = setup.facts(pod, runtime)
            variables = compute_environment(pod, container, node.services(), objects, facts)
            mounts = container_mounts(container, setup.volumes, variables)
            devices = container_devices(container, setup.volumes)
            mounts += node.files.container_mounts(pod, container, start.attempt, facts.pod_ips)
            request = container_config(
                pod,
                container,
                start,
                image=image,
                variables=variables,
                mounts=mounts,
                devices=devices,
                memory_capacity_bytes=node.memory_capacity_bytes,
                seccomp_root=node.seccomp_root,
            )
            self._target(request, runtime, container)
        except (ConfigError, ApiError, OSError) as error:
            message = error.message if isinstance(error, ApiError) else str(error)
            self.waiting[start.name] = Waiting("CreateContainerConfigError", message)
            recorder.event(pod, "Warning", "Failed", f"Error: {message}", field_path=path)
            return node.clock.now() + CONFIG_RETRY_S
        self._stop.check()
        try:
            container_id = await node.cri.create_container(sandbox.id, request, config)
        except RuntimeUnavailable:
            raise
        except CriError as error:
            self.waiting[start.name] = Waiting("CreateContainerError", error.message)
            recorder.event(pod, "Warning", "Failed", f"Error: {error.message}", field_path=path)
            return node.clock.now() + CONFIG_RETRY_S
        recorder.event(pod, "Normal", "Created", f"Created container: {start.name}", field_path=path)
        try:
            await node.cri.start_container(container_id)
        except RuntimeUnavailable:
            raise
        except CriError as error:
            self.waiting[start.name] = Waiting("RunContainerError", error.message)
            recorder.event(pod, "Warning", "Failed", f"Error: {error.message}", field_path=path)
            return None
        self.waiting.pop(start.name, None)
        recorder.event(pod, "Normal", "Started", f"Started container {start.name}", field_path=path)
        self._link_log(pod, start, container_id)
        log.info("container started", extra={"pod": key_of(pod), "container": start.name, "attempt": start.attempt})
        return await self._post_start(pod, container, container_id, runtime, path)

    def _link_log(self, pod: Pod, start: Start, container_id: str) -> None:
        try:
            self._node.files.link_log(pod, start.name, start.attempt, container_id)
        except OSError as error:
            log.warning("no link to a log", extra={"pod": key_of(pod), "container": start.name, "error": error})

    def _target(self, request: pb.ContainerConfig, runtime: RuntimePod, container: AnyContainer) -> None:
        """Let an ephemeral container see the processes of the one it is aimed at."""
        name = getattr(container, "target_container_name", "")
        if not name:
            return
        target = next((r for r in runtime.running if r.name == name), None)
        if target is None:
            raise ConfigError(f"unable to find target container {name}")
        options = request.linux.security_context.namespace_options
        options.pid, options.target_id = pb.TARGET, target.id

    async def _fetch_objects(self, pod: Pod, container: AnyContainer) -> _FetchedObjects:
        config_maps, secrets = names_of_objects(container)
        namespace = pod.metadata.namespace
        fetched = _FetchedObjects({}, {})
        for name in sorted(config_maps):
            config_map = await self._stop.unless_set(self._node.references.config_map(ObjectKey(namespace, name)))
            fetched.config_maps[name] = config_map
        for name in sorted(secrets):
            secret = await self._stop.unless_set(self._node.references.secret(ObjectKey(namespace, name)))
            fetched.secrets[name] = secret
        return fetched

    async def _post_start(
        self, pod: Pod, container: AnyContainer, container_id: str, runtime: RuntimePod, path: str
    ) -> float | None:
        """Run the hook, if there is one; return when to look again if it failed: until then that is shown."""
        hook = container.lifecycle.post_start if container.lifecycle is not None else None
        if hook is None:
            return None
        try:
            await self._stop.unless_set(self.hook(pod, container, container_id, runtime, "post_start"))
        except (HookFailed, RuntimeUnavailable) as error:
            # What a hook printed stays out of events, which more people read than the pod's status.
            self._node.recorder.event(pod, "Warning", "FailedPostStartHook", "PostStartHook failed", field_path=path)
            self._node.recorder.event(pod, "Normal", "Killing", "FailedPostStartHook", field_path=path)
            if isinstance(error, HookFailed) and pod.spec.restart_policy != "Never":
                who = f"{pod.metadata.name}_{pod.metadata.namespace}({pod.metadata.uid})"
                why = describe_failure(hook, container.name, who, error)
                self.waiting[container.name] = Waiting("PostStartHookError", why)
            await self._stop.unless_set(self._end(pod, container, container_id, runtime, path))
            return self._node.clock.now() + 1.0
        return None

    async def _end(self, pod: Pod, container: AnyContainer, container_id: str, runtime: RuntimePod, path: str) -> None:
        """Stop a container whose postStart hook failed as any other: by its preStop hook, in the pod's time."""
        node, grace_s = self._node, grace_period_s(pod)
        ends_at = node.clock.monotonic() + grace_s
        if container.lifecycle is not None and container.lifecycle.pre_stop is not None and grace_s > 0:
            try:
                async with asyncio.timeout(grace_s):
                    await self.hook(pod, container, container_id, runtime, "pre_stop")
            except HookFailed:
                node.recorder.event(pod, "Warning", "FailedPreStopHook", "PreStopHook failed", field_path=path)
            except TimeoutError:
                pass  # Its time is over, and it is told to end.
        left_s = round(ends_at - node.clock.monotonic())
        await node.cri.stop_container(container_id, max(STOP_GRACE_MIN_S, left_s))

    async def hook(self, pod: Pod, container: AnyContainer, container_id: str, runtime: RuntimePod, which: str) -> None:
        """Run a hook, `post_start` or `pre_stop`, to its end; raises HookFailed, RuntimeUnavailable."""
        handler = getattr(container.lifecycle, which)
        facts = self._setup.facts(pod, runtime)
        host = facts.pod_ips[0] if facts.pod_ips else ""
        node = self._node
        warning = await run_hook(handler, container, container_id, host, node.cri, node.http, node.clock)
        if warning:
            node.recorder.event(pod, "Warning", "LifecycleHTTPFallback", warning)


@dataclass(slots=True)
class _FetchedObjects:
    """The ConfigMaps and Secrets of one container's environment."""

    config_maps: dict[str, ConfigMap | None]
    secrets: dict[str, Secret | None]

    def config_map(self, name: str) -> ConfigMap | None:
        return self.config_maps[name]

    def secret(self, name: str) -> Secret | None:
        return self.secrets[name]


class _PullEvents(PullReporter):
    """Makes events of what happens with an image."""

    def __init__(self, node: Node, pod: Pod, path: str) -> None:
        self._node = node
        self._pod = pod
        self._path = path

    def _event(self, reason: str, message: str) -> None:
        self._node.recorder.event(self._pod, "Normal", reason, message, field_path=self._path)

    def pulling(self, image: str) -> None:
        self._event("Pulling", f'Pulling image "{image}"')

    def pulled(self, image: str, took_s: float, size_bytes: int) -> None:
        took = as_go(took_s)
        size = f"Image size: {size_bytes} bytes."
        self._event("Pulled", f'Successfully pulled image "{image}" in {took} ({took} including waiting). {size}')

    def present(self, image: str) -> None:
        self._event("Pulled", f'Container image "{image}" already present on machine')


def _is_latest(image: str) -> bool:
    last = image.rsplit("/", 1)[-1]
    return "@" not in last and (":" not in last or last.endswith(":latest"))
