"""DNS packets in and out, on loopback; upstream is a second server of the same kind."""

from __future__ import annotations

import asyncio
import random

import dnslib
import pytest
import uvloop

from api.core.service import Service, ServicePort, ServiceSpec
from api.discovery.endpointslice import Endpoint, EndpointPort, EndpointSlice
from api.meta import ObjectMeta
from clusterdns.forward import Cache, Forwarder, Found
from clusterdns.records import Zone
from clusterdns.server import Responder, Server, nameservers_in
from component.clock import RealClock
from tests.unit.clusterdns.test_records import ZONE, Cluster, service

pytestmark = pytest.mark.filterwarnings("ignore:Overriding the .event_loop_policy")


@pytest.fixture(scope="module")
def event_loop_policy() -> uvloop.EventLoopPolicy:
    """The loop that the process itself runs on; it differs in more than speed."""
    return uvloop.EventLoopPolicy()


def big_zone() -> Zone:
    slice = EndpointSlice(
        metadata=ObjectMeta(name="big-1", namespace="default", labels={"kubernetes.io/service-name": "big"}),
        address_type="IPv4",
        endpoints=[Endpoint(addresses=[f"10.244.{n // 250}.{n % 250}"]) for n in range(300)],
        ports=[EndpointPort(name="http", port=80)],
    )
    big = Service(
        metadata=ObjectMeta(name="big", namespace="default"),
        spec=ServiceSpec(cluster_ip="None", ports=[ServicePort(name="http", port=80)]),
    )
    return Zone("cluster.local", Cluster([big], [slice]))


def responder(zone: Zone = ZONE, forwarder: Forwarder | None = None, synced: bool = True) -> Responder:
    return Responder(zone, forwarder, random.Random(1), lambda: synced)


def question(name: str, kind: str = "A", udp_bytes: int = 0) -> bytes:
    record = dnslib.DNSRecord.question(name, kind)
    if udp_bytes:
        record.add_ar(dnslib.EDNS0(udp_len=udp_bytes))
    return bytes(record.pack())


async def ask(to: Responder, name: str, kind: str = "A", *, transport: str = "udp", udp_bytes: int = 0):
    packet = await to.respond(question(name, kind, udp_bytes), transport)
    return dnslib.DNSRecord.parse(packet), len(packet)


async def test_an_answer_repeats_the_question_in_its_own_letters():
    reply, _ = await ask(responder(), "Web.Default.Svc.Cluster.Local")
    assert str(reply.rr[0].rname) == "Web.Default.Svc.Cluster.Local."
    assert (str(reply.rr[0].rdata), reply.header.aa, reply.header.rcode) == ("10.96.0.20", 1, 0)


async def test_what_does_not_exist_comes_with_the_soa():
    reply, _ = await ask(responder(), "nosuch.default.svc.cluster.local")
    assert reply.header.rcode == dnslib.RCODE.NXDOMAIN
    assert reply.auth[0].rtype == dnslib.QTYPE.SOA


async def test_before_the_lists_have_come_nothing_is_denied():
    reply, _ = await ask(responder(synced=False), "web.default.svc.cluster.local")
    assert reply.header.rcode == dnslib.RCODE.SERVFAIL


async def test_a_long_answer_is_cut_to_fit_and_says_so():
    reply, size = await ask(responder(big_zone()), "big.default.svc.cluster.local")
    assert reply.header.tc == 1
    assert size <= 512
    assert len(reply.rr) > 10
    reply, size = await ask(responder(big_zone()), "big.default.svc.cluster.local", udp_bytes=4096)
    assert (reply.header.tc, size <= 1232) == (1, True)
    assert reply.ar[0].rtype == dnslib.QTYPE.OPT


async def test_a_long_answer_is_whole_over_tcp():
    reply, _ = await ask(responder(big_zone()), "big.default.svc.cluster.local", transport="tcp")
    assert (reply.header.tc, len(reply.rr)) == (0, 300)


async def test_nonsense_is_answered_with_a_format_error_or_not_at_all():
    to = responder()
    assert await to.respond(b"", "udp") is None
    assert await to.respond(b"\x12\x34" + bytes(5), "udp") is None
    broken = await to.respond(b"\x12\x34\x01\x00\x00\x01" + bytes(6) + b"\xff\xff", "udp")
    assert broken[:2] == b"\x12\x34"
    assert broken[3] & 0xF == dnslib.RCODE.FORMERR
    answer = dnslib.DNSRecord.question("web.default.svc.cluster.local").reply()
    assert await to.respond(bytes(answer.pack()), "udp") is None


async def test_without_upstream_other_names_are_refused():
    reply, _ = await ask(responder(), "example.org")
    assert reply.header.rcode == dnslib.RCODE.REFUSED


@pytest.fixture
async def upstream():
    """A server that knows example.org, as a zone of ours by that name."""
    org = service("www", "192.0.2.80", namespace="example")
    server = Server(responder(Zone("org", Cluster([org]))))
    port = await server.listen("127.0.0.1", 0)
    yield f"127.0.0.1:{port}"
    await server.close()


async def test_other_names_are_asked_upstream_and_remembered(upstream):
    forwarder = Forwarder([upstream], RealClock(), random.Random(1))
    to = responder(forwarder=forwarder)
    reply, _ = await ask(to, "www.example.svc.org")
    assert [str(record.rdata) for record in reply.rr] == ["192.0.2.80"]
    assert (reply.header.ra, reply.header.aa) == (1, 0)
    assert forwarder._cache.get("www.example.svc.org.", dnslib.QTYPE.A) is not None
    denied, _ = await ask(to, "nosuch.svc.org")
    assert (denied.header.rcode, denied.auth[0].rtype) == (dnslib.RCODE.NXDOMAIN, dnslib.QTYPE.SOA)


async def test_an_external_name_comes_with_the_addresses_it_leads_to(upstream):
    away = service("away", "", type="ExternalName", external_name="www.example.svc.org")
    forwarder = Forwarder([upstream], RealClock(), random.Random(1))
    reply, _ = await ask(responder(Zone("cluster.local", Cluster([away])), forwarder), "away.default.svc.cluster.local")
    assert [str(record.rdata) for record in reply.rr] == ["www.example.svc.org.", "192.0.2.80"]


async def test_a_dead_upstream_is_passed_over(upstream):
    forwarder = Forwarder(["127.0.0.1:1", upstream], RealClock(), random.Random(1))
    reply, _ = await ask(responder(forwarder=forwarder), "www.example.svc.org")
    assert len(reply.rr) == 1


async def test_real_sockets_answer_over_udp_and_tcp():
    server = Server(responder(big_zone()))
    port = await server.listen("127.0.0.1", 0)
    try:
        packet = question("big.default.svc.cluster.local")
        loop = asyncio.get_running_loop()
        for tcp, count in ((False, None), (True, 300)):
            raw = await loop.run_in_executor(
                None, lambda tcp=tcp: dnslib.DNSRecord.parse(packet).send("127.0.0.1", port, tcp=tcp, timeout=5)
            )
            reply = dnslib.DNSRecord.parse(raw)
            assert len(reply.rr) == count if count else reply.header.tc == 1
        with pytest.raises(OSError, match="another program"):
            await Server(responder()).listen("127.0.0.1", port)
    finally:
        await server.close()


class StoppedClock(RealClock):
    time_s = 100.0

    def monotonic(self) -> float:
        return self.time_s


def found(ttl: int, rcode: int = 0) -> Found:
    record = dnslib.RR("a.org.", dnslib.QTYPE.A, ttl=ttl, rdata=dnslib.A("192.0.2.1"))
    return Found(rcode, (record,), ())


def test_a_remembered_answer_grows_old_and_is_forgotten():
    clock = StoppedClock()
    cache = Cache(clock)
    cache.put("A.org.", 1, found(60))
    clock.time_s += 20
    assert cache.get("a.ORG.", 1).answers[0].ttl == 40
    clock.time_s += 40
    assert cache.get("a.org.", 1) is None


def test_errors_and_answers_without_a_lifetime_are_not_remembered():
    cache = Cache(StoppedClock())
    cache.put("a.org.", 1, found(60, rcode=2))
    cache.put("a.org.", 1, found(0))
    assert cache.get("a.org.", 1) is None


def test_the_cache_has_a_bound():
    cache = Cache(StoppedClock(), entries_max=2)
    for name in ("a.", "b.", "c."):
        cache.put(name, 1, found(60))
    assert [cache.get(name, 1) is not None for name in ("a.", "b.", "c.")] == [False, True, True]


def test_a_server_does_not_ask_itself():
    text = "search x\nnameserver 127.0.0.53\nnameserver 172.31.0.2\noptions ndots:5\n"
    assert nameservers_in(text, ["172.31.0.2"]) == ["127.0.0.53"]
