from __future__ import annotations

import pytest

from deploy.plan import Addresses, Cluster, ExternalStore, parse_endpoints, plan
from deploy.preflight import listening_ports

HOLLOW = Cluster(data_dir="/data", runtime="hollow", nodes=3)
REAL = Cluster(data_dir="/data", nodes=2)
ADDRESSES = Addresses(
    gateway="172.31.0.1", advertise="172.31.0.1",
    nodes={"node-1": "172.31.0.11", "node-2": "172.31.0.12"},
)  # fmt: skip


def flag(arguments: list[str], name: str) -> str:
    return arguments[arguments.index(name) + 1]


def test_a_cluster_of_containers_has_a_kubelet_and_a_proxy_on_each_node() -> None:
    names = [process.name for process in plan(REAL, ADDRESSES).processes]
    assert names == [
        "store-s1", "apiserver", "controllers", "scheduler",
        "kubelet-node-1", "kubeproxy-node-1", "kubelet-node-2", "kubeproxy-node-2",
    ]  # fmt: skip


def test_hollow_nodes_share_one_process() -> None:
    names = [process.name for process in plan(HOLLOW, Addresses()).processes]
    assert names == ["store-s1", "apiserver", "controllers", "scheduler", "kubelet-hollow"]


def test_processes_of_a_node_run_in_it_and_the_rest_do_not() -> None:
    inside = {process.name: process.node for process in plan(REAL, ADDRESSES).processes}
    assert inside["kubelet-node-2"] == "node-2"
    assert inside["apiserver"] == ""


def test_every_process_has_an_identity_of_its_own() -> None:
    for process in plan(REAL, ADDRESSES).processes:
        name = "--tls-cert" if process.name == "apiserver" else "--cert"
        assert flag(process.arguments, name).endswith(".crt")


def test_fast_failover_reaches_everyone_it_concerns() -> None:
    fast = Cluster(data_dir="/data", nodes=2, failover="fast")
    processes = {process.name: process.arguments for process in plan(fast, ADDRESSES).processes}
    assert flag(processes["controllers"], "--node-monitor-grace-s") == "10"
    assert flag(processes["apiserver"], "--default-toleration-s") == "10"
    assert flag(processes["kubelet-node-1"], "--node-lease-duration-s") == "8"


def test_no_port_is_given_twice_and_clusters_do_not_overlap() -> None:
    first = listening_ports(plan(HOLLOW, Addresses()))
    second = listening_ports(plan(Cluster(data_dir="/other", runtime="hollow", nodes=3, port=7443), Addresses()))
    assert len(first) == 9 + 3
    assert not first & second


def test_several_api_servers_share_a_port_and_everybody_knows_all_of_them() -> None:
    made = plan(Cluster(data_dir="/d", runtime="hollow", apiservers=3), Addresses())
    processes = {process.name: process for process in made.processes}
    servers = [processes[name] for name in ("apiserver", "apiserver-2", "apiserver-3")]
    assert [flag(server.arguments, "--secure-port") for server in servers] == ["6493", "6495", "6497"]
    assert [flag(server.arguments, "--grpc-port") for server in servers] == ["6444", "6496", "6498"]
    assert {flag(server.arguments, "--shared-port") for server in servers} == {"6443"}
    assert servers[2].health == "https://127.0.0.1:6497/readyz"
    everywhere = "127.0.0.1:6444,127.0.0.1:6496,127.0.0.1:6498"
    assert flag(processes["scheduler"].arguments, "--apiserver") == everywhere
    assert flag(processes["kubelet-hollow"].arguments, "--apiserver") == everywhere


def test_a_single_api_server_need_not_start_again_for_others_to_join_it() -> None:
    one, three = (plan(Cluster(data_dir="/d", runtime="hollow", apiservers=n), Addresses()).processes for n in (1, 3))
    first = next(process for process in one if process.name == "apiserver")
    assert first == next(process for process in three if process.name == "apiserver")
    assert (flag(first.arguments, "--secure-port"), flag(first.arguments, "--shared-port")) == ("6493", "6443")


def test_a_store_that_runs_already_takes_the_place_of_ours() -> None:
    store = ExternalStore(endpoints=["10.0.0.1:2379", "10.0.0.2:2379"], cert="/c.crt", key="/c.key", ca="/ca.crt")
    planned = plan(Cluster(data_dir="/data", runtime="hollow", external_store=store), Addresses())
    assert [process.name for process in planned.processes] == [
        "apiserver",
        "controllers",
        "scheduler",
        "kubelet-hollow",
    ]
    assert flag(planned.processes[0].arguments, "--store-endpoints") == "10.0.0.1:2379,10.0.0.2:2379"
    assert flag(planned.processes[0].arguments, "--store-cert") == "/c.crt"


def test_endpoints_are_https_or_bare() -> None:
    assert parse_endpoints("https://a:2379, b:2379,https://[::1]:1/") == ["a:2379", "b:2379", "[::1]:1"]


@pytest.mark.parametrize("text", ["http://a:2379", "a", "a:", "https://:1", "a:b", "a:0", "a:70000", "a:1,,b:2", ""])
def test_an_endpoint_that_is_none_is_named(text: str) -> None:
    with pytest.raises(ValueError, match="address|https"):
        parse_endpoints(text)
