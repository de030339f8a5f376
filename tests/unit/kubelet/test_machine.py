"""What a node says that it has, and that pods may have."""

from __future__ import annotations

from kubelet.machine import hollow


def test_pods_may_not_count_on_the_memory_and_the_disk_below_which_they_would_be_ended():
    machine = hollow("n1")
    assert machine.capacity() == {
        "cpu": "8",
        "memory": "32Gi",
        "ephemeral-storage": "100Gi",
        "hugepages-2Mi": "0",
        "pods": "110",
    }
    assert machine.allocatable() == machine.capacity() | {"memory": "32668Mi", "ephemeral-storage": "95Gi"}
