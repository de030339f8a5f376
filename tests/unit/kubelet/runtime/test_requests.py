from __future__ import annotations

from typing import Any

import msgspec
import pytest

from api.core.containers import Container
from kubelet.environment import ConfigError
from kubelet.lifecycle import Start
from kubelet.naming import Resolver
from kubelet.runtime.containers import container_config, security_context
from kubelet.runtime.cri import _exit_ids, socket_path
from kubelet.runtime.images import normalize
from kubelet.runtime.sandbox import sandbox_config
from proto.cri import api_pb2 as pb
from tests.unit.kubelet.builders import UID, pod


def sandbox(**spec: Any) -> pb.PodSandboxConfig:
    places = {"cgroup_parent": "/p", "log_directory": "/l", "seccomp_root": "/k/seccomp"}
    return sandbox_config(pod(**spec), 2, hostname="web", resolver=Resolver(("192.0.2.1",)), **places)


def container(**fields: Any) -> Container:
    return msgspec.convert({"name": "main", "image": "i:1", **fields}, Container)


def test_a_sandbox_is_labelled_as_upstreams():
    config = sandbox(metadata={"labels": {"app": "x"}})
    assert config.metadata == pb.PodSandboxMetadata(name="web", uid=UID, namespace="default", attempt=2)
    assert dict(config.labels) == {
        "app": "x",
        "io.kubernetes.pod.name": "web",
        "io.kubernetes.pod.namespace": "default",
        "io.kubernetes.pod.uid": UID,
    }


def test_a_pod_on_the_nodes_network_has_no_hostname_and_maps_no_ports():
    listed = [{"name": "main", "ports": [{"containerPort": 80, "hostPort": 8080}]}]
    config = sandbox(hostNetwork=True, initContainers=listed)
    assert config.hostname == ""
    assert not config.port_mappings
    assert config.linux.security_context.namespace_options.network == pb.NODE
    assert [p.host_port for p in sandbox(initContainers=listed).port_mappings] == [8080]


def test_processes_are_shared_when_asked_for():
    assert sandbox().linux.security_context.namespace_options.pid == pb.CONTAINER
    assert sandbox(shareProcessNamespace=True).linux.security_context.namespace_options.pid == pb.POD
    assert sandbox(hostPID=True).linux.security_context.namespace_options.pid == pb.NODE


def test_the_sandbox_of_a_privileged_container_is_privileged():
    privileged = [{"name": "i", "securityContext": {"privileged": True}}]
    assert sandbox(initContainers=privileged).linux.security_context.privileged


def test_a_container_request_says_all_that_a_new_kubelet_must_know():
    config = container_config(
        pod(),
        container(command=["echo", "$(A)"]),
        Start("main", 3, 40.0),
        image=pb.Image(id="sha256:abc"),
        variables={"A": "b"},
        mounts=[],
        devices=[pb.Device(container_path="/dev/x", host_path="/dev/sda", permissions="r")],
        memory_capacity_bytes=1 << 30,
        seccomp_root="/k/seccomp",
    )
    assert list(config.command) == ["echo", "b"]
    assert [device.host_path for device in config.devices] == ["/dev/sda"]
    assert config.log_path == "main/3.log"
    assert config.annotations["steersman.restart-backoff-seconds"] == "40"
    assert config.labels["io.kubernetes.container.name"] == "main"
    assert config.image.image == "sha256:abc"


def test_a_container_that_must_not_run_as_root_is_refused_as_root():
    p = pod(securityContext={"runAsNonRoot": True})
    root = pb.Image(id="x", uid=pb.Int64Value(value=0))
    with pytest.raises(ConfigError, match="image will run as root"):
        security_context(p, container(), root)
    with pytest.raises(ConfigError, match=r"non-numeric user \(www\)"):
        security_context(p, container(), pb.Image(id="x", username="www"))
    context = security_context(p, container(securityContext={"runAsUser": 7}), root)
    assert context.run_as_user.value == 7


def test_security_settings_of_the_container_win_over_the_pods():
    p = pod(securityContext={"runAsUser": 1, "fsGroup": 5, "seccompProfile": {"type": "RuntimeDefault"}})
    own = {"runAsUser": 2, "runAsGroup": 3, "allowPrivilegeEscalation": False, "capabilities": {"drop": ["CAP_X"]}}
    context = security_context(p, container(securityContext=own), pb.Image(id="x"))
    assert (context.run_as_user.value, context.run_as_group.value) == (2, 3)
    assert list(context.supplemental_groups) == [5]
    assert context.no_new_privs
    assert context.seccomp.profile_type == pb.SecurityProfile.RuntimeDefault
    assert list(context.capabilities.drop_capabilities) == ["X"]
    assert "/proc/kcore" in context.masked_paths


def test_a_profile_of_the_nodes_is_a_file_below_its_directory():
    profile = {"seccompProfile": {"type": "Localhost", "localhostProfile": "a/b.json"}}
    assert sandbox(securityContext=profile).linux.security_context.seccomp.localhost_ref == "/k/seccomp/a/b.json"
    context = security_context(pod(), container(securityContext=profile), pb.Image(id="x"), "/k/seccomp")
    assert context.seccomp.profile_type == pb.SecurityProfile.Localhost
    assert context.seccomp.localhost_ref == "/k/seccomp/a/b.json"


def test_profiles_and_labels_reach_the_runtime_the_containers_own_first():
    label = {"level": "s0:c123,c456", "type": "spc_t"}
    p = pod(securityContext={"appArmorProfile": {"type": "RuntimeDefault"}, "seLinuxOptions": label})
    context = security_context(p, container(), pb.Image(id="x"))
    assert context.apparmor.profile_type == pb.SecurityProfile.RuntimeDefault
    assert (context.selinux_options.level, context.selinux_options.type) == ("s0:c123,c456", "spc_t")
    own = {"appArmorProfile": {"type": "Localhost", "localhostProfile": "k8s-x"}, "seLinuxOptions": {"user": "u"}}
    context = security_context(p, container(securityContext=own), pb.Image(id="x"))
    assert context.apparmor.localhost_ref == "k8s-x"
    assert (context.selinux_options.user, context.selinux_options.level) == ("u", "")
    plain = security_context(pod(), container(), pb.Image(id="x"))
    assert not plain.HasField("apparmor") and not plain.HasField("selinux_options")


def test_a_group_without_a_user_is_of_the_images_user_or_roots():
    grouped = container(securityContext={"runAsGroup": 3})
    for image, user in ((pb.Image(id="x"), 0), (pb.Image(id="x", uid=pb.Int64Value(value=7)), 7)):
        context = security_context(pod(), grouped, image)
        assert (context.run_as_user.value, context.run_as_group.value) == (user, 3)
        assert context.HasField("run_as_user")
    named = security_context(pod(), grouped, pb.Image(id="x", username="www"))
    assert (named.run_as_username, named.run_as_group.value) == ("www", 3)


def test_a_privileged_container_sees_everything():
    context = security_context(pod(), container(securityContext={"privileged": True}), pb.Image(id="x"))
    assert context.privileged and not context.masked_paths and not context.readonly_paths


@pytest.mark.parametrize(
    ("short", "full"),
    [
        ("web", "docker.io/library/web:latest"),
        ("web:1", "docker.io/library/web:1"),
        ("me/web", "docker.io/me/web:latest"),
        ("localhost/web:1", "localhost/web:1"),
        ("reg.example:5000/web", "reg.example:5000/web:latest"),
        ("reg.example/web@sha256:abc", "reg.example/web@sha256:abc"),
        ("steersman.local/pause:1", "steersman.local/pause:1"),
    ],
)
def test_image_names_are_made_full(short: str, full: str):
    assert normalize(short) == full


def test_the_end_of_a_process_is_told_from_the_end_of_an_exec():
    assert _exit_ids(b"\x0a\x02c1\x12\x02c1\x18\x05") == ("c1", "c1")
    assert _exit_ids(b"\x0a\x02c1\x12\x02e9\x18\x05") == ("c1", "e9")


def test_an_endpoint_that_cannot_work_is_refused():
    with pytest.raises(ValueError, match="expected unix:///"):
        socket_path("tcp://127.0.0.1:1")
    with pytest.raises(ValueError, match="at most 107 bytes"):
        socket_path("unix:///" + "x" * 107)
