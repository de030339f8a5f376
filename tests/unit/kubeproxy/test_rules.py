"""Packets through compiled rules: where does each arrive, and is it masqueraded."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.core.service import LoadBalancerIngress, LoadBalancerStatus, ServicePort, ServiceStatus
from api.resource import ObjectKey
from kubeproxy import chains
from kubeproxy.changes import State
from kubeproxy.restore import parse_save
from kubeproxy.rules import (
    JUMPS,
    Ruleset,
    changed_chains,
    compile_rules,
    compute_edit,
    diff,
    is_whole,
    render,
    render_removal,
    replace_all,
    split,
)
from tests.unit.kubeproxy.builders import NODE, endpoint, endpoint_slice, service
from tests.unit.kubeproxy.kernel import Kernel
from tests.unit.kubeproxy.tracer import Packet, Tracer

GOLDEN = Path(__file__).parents[2] / "golden" / "kubeproxy"
POD, OUTSIDE, NODE_IP = "10.244.9.9", "203.0.113.5", "172.31.0.11"
THREE = (endpoint("10.244.1.2", "n1"), endpoint("10.244.2.2"), endpoint("10.244.3.2", "n3"))


def compiled(svc=None, *slices) -> Ruleset:
    return compile_rules([svc or service()], slices or [endpoint_slice(*THREE)], NODE)


def spread(rules: Ruleset, packet: Packet, count: int = 600) -> Counter:
    rng = Random(1)
    tracer = Tracer(rules)
    return Counter(
        tracer.send(packet, lambda probability: rng.random() < probability).destination for _ in range(count)
    )


def test_a_pod_reaches_every_endpoint_equally_and_unmasqueraded():
    packet = Packet(POD, "10.96.0.20", 80)
    found = spread(compiled(), packet)
    assert set(found) == {"10.244.1.2:8080", "10.244.2.2:8080", "10.244.3.2:8080"}
    assert min(found.values()) > 150
    assert not Tracer(compiled()).send(packet).is_masqueraded


def test_a_pod_that_reaches_itself_is_masqueraded():
    outcome = Tracer(compiled()).send(Packet("10.244.3.2", "10.96.0.20", 80))
    assert outcome.destination == "10.244.3.2:8080"
    assert outcome.is_masqueraded


def test_another_port_of_the_same_address_is_left_alone():
    assert Tracer(compiled()).send(Packet(POD, "10.96.0.20", 81)).destination == "10.96.0.20:81"


def test_someone_who_is_no_pod_is_masqueraded_on_the_way_to_a_cluster_ip():
    assert Tracer(compiled()).send(Packet(NODE_IP, "10.96.0.20", 80, is_from_this_node=True)).is_masqueraded


def test_a_node_port_answers_at_the_nodes_address_from_outside_and_is_masqueraded():
    rules = compiled(service(node_port=30080))
    outcome = Tracer(rules).send(Packet(OUTSIDE, NODE_IP, 30080))
    assert outcome.destination == "10.244.3.2:8080"
    assert outcome.is_masqueraded
    assert Tracer(rules).send(Packet("127.0.0.1", "127.0.0.1", 30080, is_from_this_node=True)).is_masqueraded


def test_a_node_port_of_another_machine_is_left_alone():
    outcome = Tracer(compiled(service(node_port=30080))).send(Packet(POD, "198.51.100.1", 30080))
    assert outcome.destination == "198.51.100.1:30080"


def test_a_service_without_endpoints_rejects_at_once():
    rules = compiled(service(node_port=30080), endpoint_slice())
    assert Tracer(rules).send(Packet(POD, "10.96.0.20", 80)).verdict == "REJECT"
    assert Tracer(rules).send(Packet(OUTSIDE, NODE_IP, 30080)).verdict == "REJECT"
    assert Tracer(rules).send(Packet(NODE_IP, "10.96.0.20", 80, is_from_this_node=True)).verdict == "REJECT"


def test_local_external_policy_keeps_the_clients_address_and_stays_on_this_node():
    rules = compiled(service(node_port=30080, external_traffic_policy="Local"))
    assert set(spread(rules, Packet(OUTSIDE, NODE_IP, 30080), 60)) == {"10.244.1.2:8080"}
    assert not Tracer(rules).send(Packet(OUTSIDE, NODE_IP, 30080)).is_masqueraded
    # The cluster's own traffic may go anywhere.
    assert len(spread(rules, Packet(POD, NODE_IP, 30080))) == 3
    assert len(spread(rules, Packet(NODE_IP, NODE_IP, 30080, is_from_this_node=True))) == 3


def test_local_external_policy_drops_where_there_is_no_local_endpoint():
    rules = compiled(service(node_port=30080, external_traffic_policy="Local"), endpoint_slice(endpoint("10.244.2.2")))
    assert Tracer(rules).send(Packet(OUTSIDE, NODE_IP, 30080)).verdict == "DROP"
    assert Tracer(rules).send(Packet(POD, NODE_IP, 30080)).destination == "10.244.2.2:8080"


def test_local_internal_policy_stays_on_this_node_and_drops_without_an_endpoint_here():
    rules = compiled(service(internal_traffic_policy="Local"))
    assert set(spread(rules, Packet(POD, "10.96.0.20", 80), 60)) == {"10.244.1.2:8080"}
    rules = compiled(service(internal_traffic_policy="Local"), endpoint_slice(endpoint("10.244.2.2")))
    assert Tracer(rules).send(Packet(POD, "10.96.0.20", 80)).verdict == "DROP"


def test_affinity_brings_a_client_back_to_its_endpoint():
    tracer, rng = Tracer(compiled(service(affinity_s=60))), Random(3)
    first = tracer.send(Packet(POD, "10.96.0.20", 80), lambda probability: rng.random() < probability).destination
    again = {
        tracer.send(Packet(POD, "10.96.0.20", 80), lambda probability: rng.random() < probability).destination
        for _ in range(50)
    }
    assert again == {first}


def test_external_ips_and_load_balancer_addresses_are_served():
    svc = service(type="LoadBalancer", external_ips=["198.51.100.7"])
    svc.status = ServiceStatus(
        load_balancer=LoadBalancerStatus(
            ingress=[LoadBalancerIngress(ip="198.51.100.8"), LoadBalancerIngress(ip="198.51.100.9", ip_mode="Proxy")]
        )
    )
    tracer = Tracer(compiled(svc))
    for address in ("198.51.100.7", "198.51.100.8"):
        outcome = tracer.send(Packet(OUTSIDE, address, 80))
        assert (outcome.destination, outcome.is_masqueraded) == ("10.244.3.2:8080", True)
    assert tracer.send(Packet(OUTSIDE, "198.51.100.9", 80)).destination == "198.51.100.9:80"


def test_source_ranges_keep_strangers_from_a_load_balancers_address():
    svc = service(type="LoadBalancer", load_balancer_source_ranges=["203.0.113.0/24"])
    svc.status = ServiceStatus(load_balancer=LoadBalancerStatus(ingress=[LoadBalancerIngress(ip="198.51.100.8")]))
    tracer = Tracer(compiled(svc))
    assert tracer.send(Packet(OUTSIDE, "198.51.100.8", 80)).destination == "10.244.3.2:8080"
    assert tracer.send(Packet("192.0.2.200", "198.51.100.8", 80)).verdict == "DROP"


def test_source_ranges_of_the_other_family_make_no_rules():
    # One rule that iptables refuses would keep all others out of the kernel.
    svc = service(type="LoadBalancer", load_balancer_source_ranges=["2001:db8::/32", " 203.0.113.0/24 "])
    svc.status = ServiceStatus(load_balancer=LoadBalancerStatus(ingress=[LoadBalancerIngress(ip="198.51.100.8")]))
    rules = compiled(svc)
    assert "2001:db8" not in diff(Ruleset(), rules)
    assert Tracer(rules).send(Packet("192.0.2.200", "198.51.100.8", 80)).verdict == "DROP"
    svc.spec.load_balancer_source_ranges = ["2001:db8::/32"]
    assert Tracer(compiled(svc)).send(Packet("192.0.2.200", "198.51.100.8", 80)).destination == "10.244.3.2:8080"


def test_local_external_policy_holds_for_external_ips_of_a_service_without_node_ports():
    rules = compiled(service(external_ips=["198.51.100.7"], external_traffic_policy="Local"))
    assert set(spread(rules, Packet(OUTSIDE, "198.51.100.7", 80), 60)) == {"10.244.1.2:8080"}
    assert not Tracer(rules).send(Packet(OUTSIDE, "198.51.100.7", 80)).is_masqueraded


@pytest.mark.parametrize("svc", [service(ip="None"), service(ip=""), service(type="ExternalName")])
def test_services_without_an_address_make_no_rules(svc):
    assert compiled(svc) == compile_rules([], [], NODE)


def test_pods_look_like_their_node_from_outside_and_like_themselves_within():
    tracer = Tracer(compiled())
    assert tracer.send(Packet("10.244.1.2", "192.0.2.80", 443)).is_masqueraded
    assert not tracer.send(Packet("10.244.1.2", "10.244.2.2", 8080)).is_masqueraded


def test_neighbours_do_not_reach_loopback():
    tracer = Tracer(compiled())
    assert tracer.send(Packet(OUTSIDE, "127.0.0.1", 10249)).verdict == "DROP"
    assert tracer.send(Packet("127.0.0.1", "127.0.0.1", 10249, is_from_this_node=True)).verdict == "ACCEPT"


def test_two_ports_of_one_service_go_their_own_ways():
    ports = [ServicePort(name="http", port=80, protocol="TCP"), ServicePort(name="dns", port=53, protocol="UDP")]
    slices = [
        endpoint_slice(*THREE),
        endpoint_slice(endpoint("10.244.7.7"), name="web-dns", port=5353, protocol="UDP"),
    ]
    slices[1].ports[0].name = "dns"
    tracer = Tracer(compile_rules([service(ports=ports)], slices, NODE))
    assert tracer.send(Packet(POD, "10.96.0.20", 53, "udp")).destination == "10.244.7.7:5353"
    assert tracer.send(Packet(POD, "10.96.0.20", 53, "tcp")).destination == "10.96.0.20:53"


@pytest.mark.parametrize(
    "name, rules",
    [
        ("cluster-ip", compiled()),
        (
            "node-port-local-affinity",
            compiled(service(node_port=30080, external_traffic_policy="Local", affinity_s=3600)),
        ),
        ("no-endpoints", compiled(service(node_port=30080), endpoint_slice())),
    ],
)
def test_rule_text_is_as_it_was(name, rules):
    assert diff(Ruleset(), rules) == (GOLDEN / f"{name}.txt").read_text()


def test_equal_state_gives_an_empty_difference_whatever_the_order():
    services = [service(), service("api", "10.96.0.21")]
    slices = [endpoint_slice(*THREE), endpoint_slice(endpoint("10.244.5.5"), service="api")]
    one = compile_rules(services, slices, NODE)
    other = compile_rules(services[::-1], slices[::-1], NODE)
    assert diff(one, other) == ""


def test_a_new_endpoint_touches_only_the_services_own_chains():
    many = [service(f"s{n}", f"10.96.1.{n}") for n in range(1, 50)]
    slices = [endpoint_slice(*THREE, service=f"s{n}") for n in range(1, 50)]
    before = compile_rules(many, slices, NODE)
    slices[6] = endpoint_slice(*THREE, endpoint("10.244.4.4"), service="s7")
    changes = changed_chains(before, compile_rules(many, slices, NODE))
    assert [change.table for change in changes] == ["nat"]
    own = chains.cluster_policy("default/s7:http", "tcp")
    new = chains.endpoint("default/s7:http", "tcp", "10.244.4.4:8080")
    assert set(changes[0].write) == {own, new}
    assert not changes[0].remove


STATES = st.dictionaries(
    st.sampled_from(["a", "b", "c", "d"]),
    st.tuples(st.sets(st.integers(2, 6), max_size=4), st.booleans(), st.booleans()),
)


def objects_of(state):
    services, slices = [], []
    for name, (hosts, has_node_port, has_affinity) in sorted(state.items()):
        port = 30000 + ord(name) if has_node_port else 0
        services.append(service(name, f"10.96.0.{ord(name)}", node_port=port, affinity_s=10 if has_affinity else 0))
        slices.append(endpoint_slice(*(endpoint(f"10.244.0.{host}", "n1") for host in sorted(hosts)), service=name))
    return services, slices


def ruleset_of(state) -> Ruleset:
    return compile_rules(*objects_of(state), NODE)


@given(st.lists(STATES, min_size=1, max_size=4))
def test_differences_lead_the_kernel_through_any_history(history):
    kernel, applied = Kernel(), None
    for state in history:
        wanted = ruleset_of(state)
        if applied is None:
            kernel.restore(render(replace_all(*parse_save(kernel.save()), wanted)))
        else:
            kernel.restore(diff(applied, wanted))
        applied = wanted
        assert kernel.ours() == {"filter": dict(wanted.filter), "nat": dict(wanted.nat)}


@given(STATES, STATES)
def test_between_two_tables_no_service_is_without_an_answer(before, after):
    kernel = Kernel()
    kernel.restore(diff(Ruleset(), ruleset_of(before)))
    for part in diff(ruleset_of(before), ruleset_of(after)).split("COMMIT\n"):
        kernel.restore(part)
        for name in before.keys() & after.keys():
            to = f"-d 10.96.0.{ord(name)}/32 "
            is_translated = any(to in rule for rule in kernel.tables["nat"]["KUBE-SERVICES"])
            is_rejected = any(to in rule for rule in kernel.tables["filter"]["KUBE-SERVICES"])
            assert is_translated or is_rejected


@given(STATES, STATES)
def test_a_fresh_start_replaces_whatever_an_earlier_life_left_and_removal_leaves_nothing(earlier, now):
    kernel = Kernel()
    kernel.restore(render(replace_all(*parse_save(kernel.save()), ruleset_of(earlier))))
    kernel.restore(render(replace_all(*parse_save(kernel.save()), ruleset_of(now))))
    wanted = ruleset_of(now)
    assert kernel.ours() == {"filter": dict(wanted.filter), "nat": dict(wanted.nat)}
    assert len(parse_save(kernel.save())[1]) == len(JUMPS)
    kernel.restore(render_removal(*parse_save(kernel.save())))
    assert kernel.save() == Kernel().save()


@given(STATES, st.data())
def test_whatever_is_taken_away_is_missed(state, data):
    wanted, kernel = ruleset_of(state), Kernel()
    kernel.restore(render(replace_all(*parse_save(kernel.save()), wanted)))
    kernel.tables["nat"]["KUBE-OF-SOMEBODY-ELSE"] = ["-j RETURN"]
    assert is_whole(*parse_save(kernel.save()), wanted)
    table = kernel.tables[data.draw(st.sampled_from(sorted(kernel.tables)))]
    name = data.draw(st.sampled_from(sorted(name for name, rules in table.items() if rules and "CNI" not in name)))
    if name == "KUBE-OF-SOMEBODY-ELSE":
        del table[name]
        assert is_whole(*parse_save(kernel.save()), wanted)
        return
    table[name].pop(data.draw(st.integers(0, len(table[name]) - 1)))
    assert not is_whole(*parse_save(kernel.save()), wanted)


@given(st.lists(STATES, min_size=1, max_size=4))
def test_compiling_only_what_changed_gives_the_same_as_compiling_all(history):
    state, objects = State(NODE), {}
    for wanted in history:
        services, slices = objects_of(wanted)
        objects.clear()
        for svc, slice in zip(services, slices, strict=True):
            objects[ObjectKey("default", svc.metadata.name)] = (svc, [slice])
        state.update([ObjectKey("default", name) for name in "abcd"], lambda key: objects.get(key, (None, ())))
        assert state.ruleset() == compile_rules(services, slices, NODE)


RULE_LISTS = st.lists(st.sampled_from("abcdef"), max_size=8).map(tuple)


@given(RULE_LISTS, RULE_LISTS)
def test_an_edit_turns_one_list_of_rules_into_the_other(before, after):
    edit, rules = compute_edit(before, after), list(before)
    rules[edit.first - 1 : edit.first - 1 + edit.removed] = edit.added
    assert tuple(rules) == after


def many(count: int, extra: str = "") -> Ruleset:
    names = [f"s{n:03}" for n in range(count)] + ([extra] if extra else [])
    services = [service(name, f"10.96.{n // 250}.{n % 250}") for n, name in enumerate(names)]
    return compile_rules(services, [endpoint_slice(endpoint("10.244.0.2"), service=name) for name in names], NODE)


def test_one_more_service_among_many_is_put_in_between():
    before, after = many(300), many(300, "s100b")
    text = diff(before, after)
    assert ":KUBE-SERVICES" not in text
    assert text.count("\n") < 12
    kernel = Kernel()
    kernel.restore(diff(Ruleset(), before))
    kernel.restore(text)
    kernel.restore(diff(after, before))
    assert kernel.ours() == {"filter": dict(before.filter), "nat": dict(before.nat)}


def test_many_changes_go_in_portions_that_each_stand_alone():
    kernel, applied = Kernel(), Ruleset()
    for wanted in (many(20), many(3), many(12)):
        portions = split(changed_chains(applied, wanted), 7)
        assert len(portions) > 3
        for portion in portions:
            kernel.restore(render(portion))
            known = set(kernel.tables["nat"]) | {"MARK", "DNAT", "RETURN", "MASQUERADE"}
            for rules in kernel.tables["nat"].values():
                assert {rule.partition("-j ")[2].split()[0] for rule in rules} <= known
        applied = wanted
        assert kernel.ours() == {"filter": dict(wanted.filter), "nat": dict(wanted.nat)}


def test_chain_names_are_upstreams():
    # What kube-proxy calls the chains of the API server's Service, on every cluster that was ever looked at.
    assert chains.cluster_policy("default/kubernetes:https", "tcp") == "KUBE-SVC-NPX46M4PTMTKRN6Y"
    assert chains.cluster_policy("kube-system/kube-dns:dns", "udp") == "KUBE-SVC-TCOU7JCQXEZGVUNU"
