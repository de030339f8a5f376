from __future__ import annotations

import pytest

from api.core.security_context import PodSecurityContext, Sysctl
from api.core.sysctls import check_sysctls, dotted, refusal


def wrong(*names: str) -> list[str]:
    context = PodSecurityContext(sysctls=[Sysctl(name=name, value="1") for name in names])
    return [f"{error.path} {error.reason.removeprefix('FieldValue')}" for error in check_sysctls("sysctls", context)]


def test_names_that_can_be_no_sysctls_are_refused_each_in_its_place() -> None:
    assert wrong("kernel.shmmax", "safe-and-unsafe", "net/ipv4/conf/eth0.100/forwarding") == []
    found = wrong("foo-", "kernel.shmmax", "bar..", "")
    assert found == [
        "sysctls[0].name Invalid",
        "sysctls[2].name Invalid",
        "sysctls[3].name Required",
    ]
    assert wrong("a.b", "a.b") == ["sysctls[1].name Duplicate"]


@pytest.mark.parametrize(
    ("written", "plain"),
    [
        ("kernel/shm_rmid_forced", "kernel.shm_rmid_forced"),
        ("kernel.shm_rmid_forced", "kernel.shm_rmid_forced"),
        ("net/ipv4/conf/eth0.100/forwarding", "net.ipv4.conf.eth0/100.forwarding"),
        ("plain", "plain"),
    ],
)
def test_the_first_separator_says_which_kind_separates(written: str, plain: str) -> None:
    assert dotted(written) == plain


def test_a_node_lets_pods_set_what_is_safe_and_their_own() -> None:
    safe = ["kernel/shm_rmid_forced", "net.ipv4.tcp_syncookies"]
    assert refusal(safe, host_network=False, host_ipc=False) == ""
    assert "not allowed with host net enabled" in refusal(safe, host_network=True, host_ipc=False)
    assert "not allowed with host ipc enabled" in refusal(safe, host_network=False, host_ipc=True)
    assert refusal(["kernel.msgmax"], host_network=False, host_ipc=False) == (
        'forbidden sysctl: "kernel.msgmax" not allowlisted'
    )
