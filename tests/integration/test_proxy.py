"""Services on real nodes: real namespaces, iptables, CNI and containers; only the API server is in memory."""

from __future__ import annotations

import asyncio
import json
import os
import random
import re
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass

import pytest
import uvloop

from api.core import node as node_api
from api.core import service as service_api
from api.core.node import Node, NodeAddress, NodeSpec, NodeStatus
from api.core.service import Service, ServicePort, ServiceSpec
from api.discovery import endpointslice as slice_api
from api.discovery.endpointslice import Endpoint, EndpointConditions, EndpointPort, EndpointSlice
from api.errors import AlreadyExists
from api.meta import ObjectMeta
from api.resource import ObjectKey
from client.informer import Informers
from client.verbs import Client
from clusterdns.directory import InformerDirectory
from clusterdns.records import Zone
from clusterdns.server import Responder, Server
from component.clock import RealClock
from deploy.cluster_network import run
from deploy.node_host import NodeHost
from kubeproxy.conntrack import Conntrack
from kubeproxy.network import NetworkSettings, PodNetwork
from kubeproxy.proxy import Proxy
from kubeproxy.restore import Iptables
from kubeproxy.rules import render_removal
from kubeproxy.topology import NodeView
from tests.integration.node_lab import Pods, can_run, nodes
from tests.integration.sockets import UdpServers, asked, udp_client
from tests.unit.client.memory_api import MemoryApi

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(not can_run, reason="needs root, containerd, runc, iptables and iproute2"),
    pytest.mark.filterwarnings("ignore:Overriding the .event_loop_policy"),
]

CLUSTER_CIDR, SERVICE_CIDR = "10.244.0.0/16", "10.96.0.0/16"
WEB_IP, DNS_IP, DATAGRAMS_IP = "10.96.0.20", "10.96.0.10", "10.96.0.21"


async def until(claim: Callable[[], bool], within_s: float = 10.0) -> None:
    async with asyncio.timeout(within_s):
        while not await asyncio.to_thread(claim):  # noqa: ASYNC110 - what it waits for is the kernel's to tell
            await asyncio.sleep(0.05)


@pytest.fixture(scope="module")
def event_loop_policy() -> uvloop.EventLoopPolicy:
    """The loop that the process itself runs on; it differs in more than speed."""
    return uvloop.EventLoopPolicy()


@dataclass
class Lab:
    hosts: list[NodeHost]
    pods: list[Pods]
    proxies: list[Proxy]
    client: Client
    containers: list[tuple[int, str, str]]
    """Of the web pods: index of the node, container, address."""

    async def exec(self, number: int, *command: str) -> str:
        index, container, _ = self.containers[number]
        return await asyncio.to_thread(self.pods[index].exec, container, *command)

    def pid(self, number: int) -> int:
        index, container, _ = self.containers[number]
        return self.pods[index].pid(container)

    async def get(self, number: int, url: str, seconds: int = 5) -> str:
        return await self.exec(number, "timeout", str(seconds), "wget", "-qO-", url)

    async def settled(self) -> None:
        """Wait until every proxy has carried out what the API holds, to the last flow."""
        wanted = []
        for resource in (service_api.RESOURCE, slice_api.RESOURCE):
            wanted += [each.metadata.resource_version for each in (await self.client.list(resource)).items]

        def has_carried_out(proxy: Proxy) -> bool:
            stores = (proxy._services.store, proxy._slices.store)
            known = [each.metadata.resource_version for store in stores for each in store.list()]
            is_idle = not proxy._dirty and proxy._applied is not None and proxy._served == proxy._state.ports()
            return sorted(known) == sorted(wanted) and proxy.last_error is None and is_idle

        async with asyncio.timeout(10):
            while not all(map(has_carried_out, self.proxies)):  # noqa: ASYNC110 - the proxies have no event for it
                await asyncio.sleep(0.05)

    async def change(self, svc: Service) -> None:
        await self.client.update(service_api.RESOURCE, svc)
        await self.settled()

    async def set_endpoints(self, *addresses: str) -> None:
        await self.client.update(slice_api.RESOURCE, self.slice_of("web", addresses))
        await self.settled()

    async def put(self, svc: Service, slice: EndpointSlice) -> None:
        """Make a Service and its endpoints be so."""
        for resource, one in ((service_api.RESOURCE, svc), (slice_api.RESOURCE, slice)):
            try:
                await self.client.create(resource, one)
            except AlreadyExists:
                await self.client.update(resource, one)
        await self.settled()

    def slice_of(self, service: str, addresses: Sequence[str], port: int = 8080) -> EndpointSlice:
        """Return endpoints of a Service's only port; those that are no pod of ours are on the second node."""
        node_of = {address: self.hosts[index].name for index, _, address in self.containers}
        name, protocol = ("http", "TCP") if service == "web" else ("dns", "UDP")
        return EndpointSlice(
            metadata=ObjectMeta(
                name=f"{service}-1", namespace="default", labels={"kubernetes.io/service-name": service}
            ),
            address_type="IPv4",
            endpoints=[
                Endpoint(
                    addresses=[one],
                    node_name=node_of.get(one, self.hosts[1].name),
                    conditions=EndpointConditions(ready=True),
                )
                for one in addresses
            ],
            ports=[EndpointPort(name=name, port=port, protocol=protocol)],
        )


def datagrams(**spec: object) -> Service:
    ports = [ServicePort(name="dns", port=53, protocol="UDP", node_port=30053)]
    return Service(
        metadata=ObjectMeta(name="datagrams", namespace="default"),
        spec=ServiceSpec(type="NodePort", cluster_ip=DATAGRAMS_IP, cluster_ips=[DATAGRAMS_IP], ports=ports, **spec),
    )


def web(**spec: object) -> Service:
    ports = [ServicePort(name="http", port=80, protocol="TCP", node_port=30080)]
    return Service(
        metadata=ObjectMeta(name="web", namespace="default"),
        spec=ServiceSpec(type="NodePort", cluster_ip=WEB_IP, cluster_ips=[WEB_IP], ports=ports, **spec),
    )


def proxy_of(host: NodeHost, client: Client, variant: str) -> tuple[Proxy, Informers]:
    prefix = host.argv([])
    informers = Informers(client, clock=RealClock(), rng=random.Random())
    settings = NetworkSettings(host.name, CLUSTER_CIDR, SERVICE_CIDR, host.cni_conf_dir, host.directory / "ipam")
    network = PodNetwork(settings, prefix)
    node = NodeView(host.name, CLUSTER_CIDR)
    return Proxy(node, informers, Iptables(variant, prefix), network, RealClock(), Conntrack(prefix)), informers


@pytest.fixture(scope="module", params=["nft", "legacy"])
def variant(request):
    return request.param


@pytest.fixture(scope="module")
def powered(variant):
    with nodes(2) as hosts:
        yield hosts


@pytest.fixture
async def lab(powered, variant) -> AsyncIterator[Lab]:
    client = Client(MemoryApi())
    for number, host in enumerate(powered, start=1):
        node = Node(
            metadata=ObjectMeta(name=host.name),
            spec=NodeSpec(pod_cidr=f"10.244.{number}.0/24"),
            status=NodeStatus(addresses=[NodeAddress(type="InternalIP", address=str(host.address))]),
        )
        await client.create(node_api.RESOURCE, node)
    async with asyncio.TaskGroup() as group:
        tasks, proxies = [], []
        for host in powered:
            proxy, informers = proxy_of(host, client, variant)
            tasks += [group.create_task(informers.run()), group.create_task(proxy.run())]
            proxies.append(proxy)
        pods = [Pods(host) for host in powered]
        one = Lab(powered, pods, proxies, client, [])
        await one.settled()
        for each in pods:
            await until(each.network_ready)
        if not hasattr(powered[0], "web_pods"):
            # Pods last for the module, the proxies for a test: each finds what the one before left.
            placed = []
            for number, index in enumerate((0, 0, 1)):
                placed.append((index, *await asyncio.to_thread(pods[index].run, f"web-{number}", DNS_IP)))
            powered[0].web_pods = placed
        one.containers = powered[0].web_pods
        await client.create(service_api.RESOURCE, web())
        await client.create(slice_api.RESOURCE, one.slice_of("web", [entry[2] for entry in one.containers]))
        await one.settled()
        yield one
        for task in tasks:
            task.cancel()
    for each in pods:
        each.close()


@pytest.fixture
def udp_servers() -> Iterator[UdpServers]:
    servers = UdpServers()
    yield servers
    servers.close()


def fetch(url: str) -> str:
    return urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=5).read().decode()


def who(page: str) -> str:
    found = re.search(r"Hello from pod (\S+)", page)
    assert found, page
    return found[1]


async def test_pods_reach_each_other_across_nodes_with_their_own_addresses(lab):
    page = await lab.get(0, f"http://{lab.containers[2][2]}:8080/")
    assert who(page) == "web-2"
    assert f"You came from {lab.containers[0][2]}" in page.replace("::ffff:", "").replace("[", "").replace("]", "")


async def test_sixty_requests_by_cluster_ip_meet_every_pod(lab):
    loop = f"for i in $(seq 60); do timeout 5 wget -qO- http://{WEB_IP}/; done"
    answers = Counter(re.findall(r"Hello from pod (\S+)", await lab.exec(0, "sh", "-c", loop)))
    assert set(answers) == {"web-0", "web-1", "web-2"}
    assert sum(answers.values()) == 60


async def test_a_pod_reaches_itself_through_its_own_service(lab):
    await lab.set_endpoints(lab.containers[0][2])
    assert who(await lab.get(0, f"http://{WEB_IP}/")) == "web-0"
    assert who(await lab.get(0, f"http://{lab.hosts[0].address}:30080/")) == "web-0"


async def test_the_machine_reaches_every_pod_by_node_port_at_either_node(lab):
    for host in lab.hosts:
        answers = Counter([who(await asyncio.to_thread(fetch, f"http://{host.address}:30080/")) for _ in range(30)])
        assert set(answers) == {"web-0", "web-1", "web-2"}


async def test_the_node_itself_reaches_services_by_cluster_ip_and_by_localhost(lab):
    for url in (f"http://{WEB_IP}/", "http://127.0.0.1:30080/"):
        page = await asyncio.to_thread(lab.hosts[1].run, ["busybox", "timeout", "5", "busybox", "wget", "-qO-", url])
        assert who(page)


async def test_affinity_keeps_a_client_at_its_pod(lab):
    await lab.change(web(session_affinity="ClientIP"))
    answers = {who(await lab.get(0, f"http://{WEB_IP}/")) for _ in range(8)}
    assert len(answers) == 1


async def test_without_endpoints_a_client_is_refused_at_once(lab):
    await lab.set_endpoints()
    assert "refused" in await lab.get(0, f"http://{WEB_IP}/", seconds=3)
    with pytest.raises(urllib.error.URLError, match="refused"):
        await asyncio.to_thread(fetch, f"http://{lab.hosts[0].address}:30080/")


async def test_who_waits_for_an_endpoint_that_was_lost_gets_to_another_when_it_goes(lab):
    await lab.set_endpoints("10.244.2.250")  # nobody has this address
    waiting = asyncio.create_task(lab.get(0, f"http://{WEB_IP}/", seconds=10))
    table = lab.hosts[0].run
    await until(lambda: f"dst={WEB_IP}" in table(["conntrack", "-L", "-p", "tcp", "--state", "SYN_SENT"]))
    await lab.set_endpoints(lab.containers[2][2])
    assert who(await waiting) == "web-2"


async def test_a_udp_client_that_keeps_its_socket_follows_the_endpoints(lab, udp_servers):
    clients = [udp_client(lab.pid(1), DATAGRAMS_IP, 53), udp_client(os.getpid(), str(lab.hosts[0].address), 30053)]

    async def heard(expected: str, port: int, *numbers: int) -> None:
        await lab.put(datagrams(), lab.slice_of("datagrams", [lab.containers[number][2] for number in numbers], port))
        for client in clients:
            await until(lambda client=client: asked(client).startswith(expected), 5.0)

    for number in (0, 2):
        udp_servers.add(lab.pid(number), f"web-{number}", 5353)
    udp_servers.add(lab.pid(2), "web-2-moved", 5454)
    try:
        await heard("ConnectionRefused", 5353)
        await heard("web-0 ", 5353, 0)
        await heard("web-2 ", 5353, 2)
        await heard("web-2-moved", 5454, 2)
        await heard("ConnectionRefused", 5454)
        await heard("web-0 ", 5353, 0)
        # Who has an endpoint stays with it, whatever else comes.
        await heard("web-0 ", 5353, 0, 2)
    finally:
        for client in clients:
            client.close()


async def test_a_server_on_the_nodes_own_network_answers_its_pods_from_the_nodes_address(lab, udp_servers):
    host = lab.hosts[0]
    udp_servers.add(host.pid(), "node", 5353)
    await lab.put(datagrams(), lab.slice_of("datagrams", [str(host.address)], 5353))
    # A socket that is bound to every address answers from the one that the route names.
    for address, port in ((DATAGRAMS_IP, 53), (str(host.address), 5353)):
        with udp_client(lab.pid(0), address, port) as client:
            await until(lambda client=client: asked(client) == f"node {lab.containers[0][2]}", 5.0)


async def test_local_policy_shows_the_clients_own_address_and_silence_where_no_pod_is(lab):
    await lab.change(web(external_traffic_policy="Local"))
    await lab.set_endpoints(lab.containers[2][2])
    page = await asyncio.to_thread(fetch, f"http://{lab.hosts[1].address}:30080/")
    assert str(lab.hosts[0].network.gateway) in page
    with pytest.raises((urllib.error.URLError, TimeoutError)):
        await asyncio.to_thread(
            urllib.request.build_opener(urllib.request.ProxyHandler({})).open,
            f"http://{lab.hosts[0].address}:30080/",
            timeout=1,
        )


async def test_a_new_proxy_takes_over_without_disturbing_traffic_and_leaves_nothing_old(lab, variant):
    before = await lab.proxies[0]._iptables.read()
    proxy, informers = proxy_of(lab.hosts[0], lab.client, variant)
    task = asyncio.create_task(informers.run())
    try:
        await informers.wait_synced()
        await proxy.sync()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    after = await lab.proxies[0]._iptables.read()
    assert {table: sorted(names) for table, names in after[0].items()} == {
        table: sorted(names) for table, names in before[0].items()
    }
    assert after[1] == before[1]
    assert who(await lab.get(0, f"http://{WEB_IP}/"))


async def test_rules_that_somebody_flushed_are_written_again(lab):
    proxy = lab.proxies[0]
    tables = proxy._iptables

    async def heal() -> None:
        await proxy._check()
        proxy._wake.set()
        await until(lambda: proxy._applied is not None)
        assert who(await lab.get(0, f"http://{WEB_IP}/"))

    await tables.apply(render_removal(*await tables.read()))
    await heal()
    for emptied in ("PREROUTING", "KUBE-SERVICES", "KUBE-MARK-MASQ"):
        await tables.apply(f"*nat\n-F {emptied}\nCOMMIT\n")
        await heal()
    # What is whole is left alone.
    applied = proxy._applied
    await proxy._check()
    assert proxy._applied is applied


async def test_a_packet_that_nobody_claims_stays_on_the_machine(lab):
    answer = await lab.get(0, "http://10.244.77.7/", seconds=3)
    assert "unreachable" in answer or "No route" in answer
    route = json.loads(await asyncio.to_thread(lab.hosts[0].run, ["ip", "-json", "route", "get", "10.96.200.1"]))
    assert route[0]["dev"] == "cni0"


async def test_a_peers_route_goes_when_the_peer_does(lab):
    await lab.client.delete(node_api.RESOURCE, ObjectKey("", "n2"))
    await until(lambda: "10.244.2.0" not in lab.hosts[0].run(["ip", "route", "show", "proto", "77"]))


async def test_pods_find_the_service_by_name_through_the_dns_service(lab):
    network = lab.hosts[0].network
    address = str(network.subnet[2])
    await asyncio.to_thread(run, ["ip", "address", "replace", f"{address}/24", "dev", network.bridge])
    informers = Informers(lab.client, clock=RealClock(), rng=random.Random())
    zone = Zone("cluster.local", InformerDirectory(informers), DNS_IP)
    server = Server(Responder(zone, None, random.Random(), lambda: informers.has_synced))
    task = asyncio.create_task(informers.run())
    try:
        await server.listen(address, 53)
        ports = [
            ServicePort(name="dns", port=53, protocol="UDP"),
            ServicePort(name="dns-tcp", port=53, protocol="TCP"),
        ]
        spec = ServiceSpec(type="ClusterIP", cluster_ip=DNS_IP, ports=ports)
        dns = Service(metadata=ObjectMeta(name="kube-dns", namespace="kube-system"), spec=spec)
        await lab.client.create(service_api.RESOURCE, dns)
        slice = EndpointSlice(
            metadata=ObjectMeta(
                name="kube-dns", namespace="kube-system", labels={"kubernetes.io/service-name": "kube-dns"}
            ),
            address_type="IPv4",
            endpoints=[Endpoint(addresses=[address], conditions=EndpointConditions(ready=True))],
            ports=[
                EndpointPort(name="dns", port=53, protocol="UDP"),
                EndpointPort(name="dns-tcp", port=53, protocol="TCP"),
            ],
        )
        await lab.client.create(slice_api.RESOURCE, slice)
        await lab.settled()
        assert who(await lab.get(0, "http://web/"))
        assert who(await lab.get(2, "http://web.default.svc.cluster.local/"))
        assert WEB_IP in await lab.exec(0, "nslookup", "web.default.svc.cluster.local")
        assert "NXDOMAIN" in await lab.exec(0, "nslookup", "nosuch.default.svc.cluster.local")
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await server.close()
