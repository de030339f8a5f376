from __future__ import annotations

import asyncio
import copy
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from api.core.service import Service, ServicePort, ServiceSpec
from api.errors import Invalid, ServiceUnavailable
from api.meta import ObjectMeta
from api.resource import ObjectKey
from apiserver.allocators.claims import Claims
from apiserver.allocators.ranges import Range, address_range, port_range
from apiserver.allocators.repair import AllocationRepair
from apiserver.allocators.services import ServiceAllocator
from component.clock import RealClock
from store.local import LocalStore


class Services:
    """A cache of Services that tests fill by hand."""

    def __init__(self) -> None:
        self.items: dict[ObjectKey, Service] = {}

    def get(self, key: ObjectKey) -> Service | None:
        return self.items.get(key)

    def list(self, namespace: str | None = None) -> list[Service]:
        return list(self.items.values())

    async def read(self) -> list[Service]:
        return self.list()

    def add(self, service: Service) -> None:
        self.items[ObjectKey(service.metadata.namespace, service.metadata.name)] = service


def service(name: str = "web", type: str = "ClusterIP", ports: list[tuple[int, int]] | None = None, **spec) -> Service:
    made = [ServicePort(port=port, protocol="TCP", node_port=node) for port, node in ports or [(80, 0)]]
    return Service(metadata=ObjectMeta(name=name, namespace="default"), spec=ServiceSpec(type=type, ports=made, **spec))


def allocator(services: Services | None = None, store: LocalStore | None = None, **kwargs) -> ServiceAllocator:
    values = {"cidr": "10.96.0.0/16", "node_ports": "30000-32767"} | kwargs
    return ServiceAllocator(store or LocalStore(), services or Services(), random=Random(1), **values)


async def test_a_service_gets_an_address_of_the_dynamic_band_and_all_that_goes_with_it() -> None:
    made = service()
    await allocator().begin_create(made)
    third, fourth = map(int, made.spec.cluster_ip.split(".")[2:])
    assert made.spec.cluster_ip.startswith("10.96.") and third * 256 + fourth > 256
    assert made.spec.cluster_ips == [made.spec.cluster_ip]
    assert (made.spec.ip_families, made.spec.ip_family_policy) == (["IPv4"], "SingleStack")
    assert made.spec.ports[0].node_port == 0


async def test_headless_and_external_name_services_get_no_address() -> None:
    headless, external = service(cluster_ip="None"), service(type="ExternalName", external_name="x.example")
    for made in (headless, external):
        assert (await allocator().begin_create(made)).taken == []
    assert (headless.spec.cluster_ip, headless.spec.cluster_ips) == ("None", ["None"])
    assert (external.spec.cluster_ip, external.spec.cluster_ips, external.spec.ip_families) == ("", [], [])


async def test_an_address_that_is_taken_is_refused_in_upstreams_words() -> None:
    tested = allocator()
    await tested.begin_create(service("a", cluster_ip="10.96.0.10"))
    with pytest.raises(Invalid) as refused:
        await tested.begin_create(service("b", cluster_ip="10.96.0.10"))
    assert refused.value.message == (
        'Service "b" is invalid: spec.clusterIPs: Invalid value: []string{"10.96.0.10"}: failed to '
        "allocate IP 10.96.0.10: "
        "provided IP is already allocated"
    )


async def test_an_address_outside_the_network_is_refused() -> None:
    with pytest.raises(Invalid, match=r"the provided IP \(10.97.0.1\) is not in the valid range. .* is 10.96.0.0/16"):
        await allocator().begin_create(service(cluster_ip="10.97.0.1"))


async def test_node_ports_are_given_and_conflicts_refused_with_everything_taken_so_far_returned() -> None:
    tested = allocator()
    first = service("a", "NodePort", [(80, 30080), (443, 0)])
    await tested.begin_create(first)
    assert first.spec.ports[0].node_port == 30080 and first.spec.ports[1].node_port >= 30086
    with pytest.raises(Invalid) as refused:
        await tested.begin_create(service("b", "NodePort", [(80, 30081), (81, 30080)]))
    assert refused.value.message == (
        'Service "b" is invalid: spec.ports[1].nodePort: Invalid value: 30080: provided port is already allocated'
    )
    assert set(await tested.ports.list()) == {30080, first.spec.ports[1].node_port}
    assert len(await tested.addresses.list()) == 1


async def test_a_port_out_of_range_is_refused_with_the_range() -> None:
    with pytest.raises(Invalid, match="provided port is not in the valid range. The range of valid ports is 30000-327"):
        await allocator().begin_create(service(type="NodePort", ports=[(80, 80)]))


async def test_tcp_and_udp_on_one_port_share_a_node_port() -> None:
    made = service("dns", "NodePort", [(53, 0), (53, 0)])
    made.spec.ports[1].protocol = "UDP"
    await allocator().begin_create(made)
    assert made.spec.ports[0].node_port == made.spec.ports[1].node_port != 0


async def test_an_update_keeps_what_it_leaves_out_and_gives_up_what_its_type_no_longer_needs() -> None:
    tested = allocator()
    old = service(type="NodePort")
    await tested.begin_create(old)
    same = service(type="NodePort")
    await (await tested.begin_update(same, old)).commit()
    assert same.spec == old.spec
    plain = service(ports=[(80, old.spec.ports[0].node_port)])
    await (await tested.begin_update(plain, same)).commit()
    assert plain.spec.cluster_ip == old.spec.cluster_ip and plain.spec.ports[0].node_port == 0
    assert set(await tested.ports.list()) == set()
    outside = service(type="ExternalName", external_name="x", cluster_ip=plain.spec.cluster_ip)
    await (await tested.begin_update(outside, plain)).commit()
    assert outside.spec.cluster_ip == "" and set(await tested.addresses.list()) == set()


async def test_a_name_for_something_outside_gets_an_address_when_it_becomes_a_service_of_the_cluster() -> None:
    given = allocator()
    old, new = service(type="ExternalName"), service()
    await given.begin_create(old)
    await given.begin_update(new, old)
    assert new.spec.cluster_ip and new.spec.cluster_ips == [new.spec.cluster_ip]


async def test_a_service_whose_traffic_need_not_stay_on_the_node_gives_its_health_check_port_up() -> None:
    given = allocator()
    old = service(type="LoadBalancer", external_traffic_policy="Local")
    await given.begin_create(old)
    assert old.spec.health_check_node_port
    new = copy.deepcopy(old)
    new.spec.external_traffic_policy = "Cluster"
    allocation = await given.begin_update(new, old)
    assert new.spec.health_check_node_port == 0
    assert (given.ports, old.spec.health_check_node_port) in allocation.given_up


async def test_endpoints_that_somebody_else_makes_may_be_of_both_families() -> None:
    given = allocator()
    made = service(cluster_ip="None")
    await given.begin_create(made)
    assert (made.spec.ip_families, made.spec.ip_family_policy) == (["IPv4", "IPv6"], "RequireDualStack")
    selecting = service(cluster_ip="None", selector={"a": "b"})
    await given.begin_create(selecting)
    assert (selecting.spec.ip_families, selecting.spec.ip_family_policy) == (["IPv4"], "SingleStack")


async def test_an_update_that_is_reverted_leaves_the_old_claims() -> None:
    tested = allocator()
    old = service(type="NodePort", ports=[(80, 30080)])
    await tested.begin_create(old)
    await (await tested.begin_update(service(type="NodePort", ports=[(80, 30081)]), old)).revert()
    assert set(await tested.ports.list()) == {30080}


async def test_dry_run_records_nothing() -> None:
    tested = allocator()
    made = service(type="NodePort")
    await tested.begin_create(made, dry_run=True)
    assert made.spec.cluster_ip and made.spec.ports[0].node_port
    assert not await tested.addresses.list() and not await tested.ports.list()


async def test_two_apiservers_never_hand_out_the_same_number() -> None:
    store = LocalStore()
    tight = {"cidr": "10.96.0.0/27", "node_ports": "30000-30029"}
    pair = [allocator(store=store, **tight) for _ in range(2)]
    made = [service(f"s{n}", "NodePort") for n in range(29)]
    await asyncio.gather(*(pair[n % 2].begin_create(one) for n, one in enumerate(made)))
    assert len({one.spec.cluster_ip for one in made}) == 29
    assert len({one.spec.ports[0].node_port for one in made}) == 29
    with pytest.raises(ServiceUnavailable, match="range 10.96.0.0/27 is full"):
        await pair[0].begin_create(service("late"))


async def test_deleting_frees_and_repair_frees_what_nobody_uses_only_on_the_second_pass() -> None:
    services = Services()
    tested = allocator(services)
    kept, deleted, lost = service("a", "NodePort"), service("b", "NodePort"), service("c", "NodePort")
    for one in (kept, deleted, lost):
        await tested.begin_create(one)
    services.add(kept)
    await tested.released(deleted)
    repair = AllocationRepair(tested, services.read, RealClock())
    await repair.repair()
    assert len(await tested.addresses.list()) == 2
    await repair.repair()
    assert [str(claim.owner) for claim in (await tested.addresses.list()).values()] == ["default/a"]
    assert list(await tested.ports.list()) == [kept.spec.ports[0].node_port]


async def test_repair_records_a_service_without_a_claim() -> None:
    services = Services()
    tested = allocator(services)
    services.add(service(cluster_ip="10.96.0.77"))
    await AllocationRepair(tested, services.read, RealClock()).repair()
    with pytest.raises(Invalid):
        await tested.begin_create(service("b", cluster_ip="10.96.0.77"))


async def test_a_release_by_another_owner_changes_nothing() -> None:
    claims = Claims(LocalStore(), "x")
    await claims.take(5, ObjectKey("a", "b"))
    await claims.release(5, ObjectKey("a", "other"))
    assert list(await claims.list()) == [5]


@given(st.integers(0, 50), st.integers(0, 50), st.integers(0, 50), st.sets(st.integers(0, 160)), st.integers())
@settings(max_examples=60)
def test_candidates_are_all_free_numbers_upper_band_first(
    low: int, band: int, rest: int, taken: set, seed: int
) -> None:
    tested = Range(low, low + band + rest, low + band)
    found = list(tested.candidates(taken, Random(seed)))
    free = set(range(tested.first, tested.last + 1)) - taken
    assert set(found) == free
    lower = [index for index, number in enumerate(found) if number < tested.dynamic_from]
    upper = [index for index, number in enumerate(found) if number >= tested.dynamic_from]
    assert not lower or not upper or max(upper) < min(lower)


def test_bands_have_upstreams_sizes() -> None:
    assert address_range("10.96.0.0/16").dynamic_from - address_range("10.96.0.0/16").first == 256
    assert port_range("30000-32767").dynamic_from - 30000 == 86
    for bad in ("30000", "a-b", "5-3", "0-10", "1-70000"):
        with pytest.raises(ValueError, match="range of ports"):
            port_range(bad)


async def test_addresses_that_contradict_each_other_are_refused_and_none_is_taken() -> None:
    tested = allocator()
    with pytest.raises(Invalid, match="spec.clusterIPs: .* first value must match `clusterIP`"):
        await tested.begin_create(service(cluster_ip="10.96.0.50", cluster_ips=["10.96.0.51"]))
    with pytest.raises(Invalid, match="must be empty when `clusterIP` is not specified"):
        await tested.begin_create(service(cluster_ips=["10.96.0.50"]))
    old = service(cluster_ip="10.96.0.50")
    await tested.begin_create(old)
    new = copy.deepcopy(old)
    new.spec.cluster_ips = ["10.96.0.51"]
    with pytest.raises(Invalid, match="first value must match `clusterIP`"):
        await tested.begin_update(new, old)
    await tested.begin_create(service("other", cluster_ip="10.96.0.51"))


async def test_an_address_is_one_however_it_is_spelled() -> None:
    tested = allocator()
    made = service(cluster_ip="010.96.0.050")
    await tested.begin_create(made)
    assert made.spec.cluster_ip == "010.96.0.050"
    with pytest.raises(Invalid, match="already allocated"):
        await tested.begin_create(service("other", cluster_ip="10.96.0.50"))
