from __future__ import annotations

import configparser
import re
from pathlib import Path

import pytest

from deploy.machine.build import TARGET, TIMERS, unit_files
from deploy.machine.host import UNIT_FILES
from deploy.machine.plan import NODE, Layout, credential_path, service, service_names, units
from tests.unit.deploy.machine.builders import control_plane, worker

ROOT_PROCESSES = {"containerd", "kubelet", "kubeproxy", "sync"}
PROCESSES = sorted({*service_names("control-plane"), "snapshot", "sync"})
OURS = sorted(set(PROCESSES) - {"containerd"})


def lines(name: str, key: str) -> list[str]:
    text = (UNIT_FILES / service(name)).read_text()
    return re.findall(rf"^{key}=(.*)$", text, flags=re.MULTILINE)


def dropped_in(name: str) -> str:
    return "".join(path.read_text() for path in sorted((UNIT_FILES / f"{service(name)}.d").glob("*.conf")))


def credentials_of(name: str) -> dict[str, str]:
    return dict(line.split(":") for line in lines(name, "LoadCredential"))


def test_every_unit_of_a_machine_is_there_with_what_is_laid_over_it() -> None:
    for machine in (control_plane(), worker()):
        for name in unit_files(machine):
            assert (UNIT_FILES / name).is_file(), name
    assert "steersman-.service.d/10-common.conf" in unit_files(worker())
    assert "steersman-store.service" not in unit_files(worker())


def test_no_unit_file_is_left_out_of_a_control_plane_machine() -> None:
    there = {str(p.relative_to(UNIT_FILES)) for p in UNIT_FILES.rglob("steersman*") if p.is_file()}
    there |= {str(p.relative_to(UNIT_FILES)) for p in UNIT_FILES.rglob("*.conf")}
    assert there - set(unit_files(control_plane())) == {"steersman.sysusers", "steersman.modules"}


@pytest.mark.parametrize("name", [unit.name for unit in units(control_plane(), Layout())])
def test_a_process_is_given_exactly_the_files_that_its_settings_name(name: str) -> None:
    unit = next(unit for unit in units(control_plane(), Layout()) if unit.name == name)
    prefix = f"/run/credentials/{service(name)}/"
    named = {argument.removeprefix(prefix) for argument in unit.arguments if argument.startswith(prefix)}
    assert set(credentials_of(name)) == named
    for credential, path in credentials_of(name).items():
        place = str(Path(path).relative_to(Layout().pki))
        assert credential_path(name, place) == prefix + credential


def test_who_is_not_root_reads_no_file_that_only_root_may() -> None:
    for unit in units(control_plane(), Layout()):
        if unit.name not in ROOT_PROCESSES:
            assert not [a for a in unit.arguments if a.startswith(str(Layout().pki))], unit.name


def test_no_two_processes_share_a_private_key_but_for_those_that_sign() -> None:
    signing = {"service-account/sa.key"}  # the API server signs tokens, the controllers those kept in Secrets
    holders: dict[str, list[str]] = {}
    for name in OURS:
        for path in credentials_of(name).values():
            if path.endswith(".key"):
                holders.setdefault(str(Path(path).relative_to(Layout().pki)), []).append(name)
    # The backup reads the store as the API server does: the store admits nobody else.
    assert {key: who for key, who in holders.items() if len(who) > 1 and key not in signing} == {
        "store/apiserver.key": ["apiserver", "snapshot"]
    }


def test_every_process_that_need_not_be_root_has_a_user_of_its_own() -> None:
    made = set(re.findall(r"^u (\S+)", (UNIT_FILES / "steersman.sysusers").read_text(), flags=re.MULTILINE))
    users = {name: lines(name, "User") for name in PROCESSES}
    assert {name for name, user in users.items() if not user} == ROOT_PROCESSES
    assert {user[0] for user in users.values() if user} == made
    assert all(user == [f"steersman-{name}"] for name, user in users.items() if user)


@pytest.mark.parametrize("name", [name for name in OURS if name not in ("snapshot", "sync")])
def test_every_process_is_watched_and_read_from_its_settings(name: str) -> None:
    assert lines(name, "Type") == ["notify"]
    assert lines(name, "WatchdogSec") == ["30s"]
    program = "steer-dns" if name == "dns" else f"steer-{name}"
    assert lines(name, "ExecStart") == [
        f"/opt/steersman/current/bin/{program} --config {Layout().settings(name)} $FLAGS"
    ]
    assert lines(name, "WantedBy") == [TARGET]


def test_the_common_drop_in_takes_everything_that_can_be_taken() -> None:
    common = (UNIT_FILES / "steersman-.service.d" / "10-common.conf").read_text()
    for setting in (
        "NoNewPrivileges=yes", "CapabilityBoundingSet=\n", "ProtectSystem=strict", "ProtectHome=yes",
        "PrivateDevices=yes", "RestrictNamespaces=yes", "MemoryDenyWriteExecute=yes",
        "SystemCallFilter=@system-service", "Restart=always", "StartLimitBurst=", "PartOf=steersman.target",
    ):  # fmt: skip
        assert setting in common


def test_only_these_take_rights_back_and_only_these_rights() -> None:
    taken = {}
    for name in PROCESSES:
        capabilities = " ".join(re.findall(r"^CapabilityBoundingSet=(.+)$", dropped_in(name), flags=re.MULTILINE))
        if capabilities:
            taken[name] = set(capabilities.split())
    assert taken == {
        "containerd": {"~"},
        "dns": {"CAP_NET_BIND_SERVICE"},
        "kubelet": {
            "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_DAC_READ_SEARCH", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL",
            "CAP_NET_BIND_SERVICE", "CAP_NET_RAW", "CAP_SETGID", "CAP_SETUID", "CAP_SYS_ADMIN", "CAP_SYS_PTRACE",
            "CAP_SYS_RESOURCE",
        },
        "kubeproxy": {"CAP_NET_ADMIN", "CAP_NET_RAW"},
        "sync": {"CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER"},
    }  # fmt: skip


def test_restarting_the_kubelet_or_containerd_leaves_containers_alone() -> None:
    for name in ("kubelet", "containerd"):
        assert lines(name, "KillMode") == ["process"]
    for name in ("ProtectSystem", "PrivateTmp", "ProtectHome"):
        # Each of these would give the kubelet a mount namespace of its own, and hide volumes from containers.
        assert f"{name}=no" in dropped_in("kubelet")


def test_timers_are_of_the_role() -> None:
    assert "steersman-snapshot.timer" in TIMERS["control-plane"]
    assert TIMERS["worker"] == ("steersman-sync.timer",)
    assert service_names("worker") == list(NODE)


def test_unit_files_parse() -> None:
    for path in [*UNIT_FILES.glob("*.service"), *UNIT_FILES.glob("*.timer"), *UNIT_FILES.glob("*.target")]:
        parser = configparser.RawConfigParser(strict=False, delimiters=("=",), allow_no_value=False)
        parser.optionxform = str  # type: ignore[assignment,method-assign]
        parser.read_string(path.read_text())
        assert parser.get("Unit", "Description"), path
