"""What names mean."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from api.core.service import Service, ServicePort, ServiceSpec
from api.discovery.endpointslice import Endpoint, EndpointConditions, EndpointPort, EndpointSlice
from api.meta import ObjectMeta
from clusterdns.records import NONE, NXDOMAIN, Rcode, Record, Srv, Zone

HTTP = ServicePort(name="http", port=80, protocol="TCP")


def service(name: str, ip: str, *, namespace: str = "default", **spec) -> Service:
    ports = spec.pop("ports", [HTTP])
    return Service(
        metadata=ObjectMeta(name=name, namespace=namespace), spec=ServiceSpec(cluster_ip=ip, ports=ports, **spec)
    )


class Cluster:
    """A directory from two lists."""

    def __init__(self, services: Sequence[Service], slices: Sequence[EndpointSlice] = ()) -> None:
        self._services = {(one.metadata.namespace, one.metadata.name): one for one in services}
        self._slices = slices

    def service(self, namespace, name):
        return self._services.get((namespace, name))

    def slices(self, namespace, name):
        return [
            one
            for one in self._slices
            if one.metadata.namespace == namespace and one.metadata.labels["kubernetes.io/service-name"] == name
        ]

    def has_namespace(self, namespace):
        return any(key[0] == namespace for key in self._services)

    def services_at(self, address):
        return [one for one in self._services.values() if one.spec.cluster_ip == address]

    def slices_at(self, address):
        return [one for one in self._slices if any(address in entry.addresses for entry in one.endpoints)]


ZONE = Zone(
    "cluster.local",
    Cluster(
        [
            service("web", "10.96.0.20"),
            service("db", "None"),
            service("elsewhere", "", type="ExternalName", external_name="example.org"),
            service("alias", "", type="ExternalName", external_name="web.default.svc.cluster.local"),
            service("loop", "", type="ExternalName", external_name="loop.default.svc.cluster.local"),
            service("kube-dns", "10.96.0.10", namespace="kube-system"),
        ],
        [
            EndpointSlice(
                metadata=ObjectMeta(name="db-1", namespace="default", labels={"kubernetes.io/service-name": "db"}),
                address_type="IPv4",
                endpoints=[
                    Endpoint(addresses=["10.244.1.5"], hostname="db-0", conditions=EndpointConditions(ready=True)),
                    Endpoint(addresses=["10.244.2.6"], conditions=EndpointConditions(ready=None)),
                    Endpoint(addresses=["10.244.3.7"], conditions=EndpointConditions(ready=False)),
                ],
                ports=[EndpointPort(name="sql", port=5432, protocol="TCP")],
            ),
            EndpointSlice(
                metadata=ObjectMeta(name="web-1", namespace="default", labels={"kubernetes.io/service-name": "web"}),
                address_type="IPv4",
                endpoints=[Endpoint(addresses=["10.244.4.8"], conditions=EndpointConditions(ready=True))],
                ports=[EndpointPort(name="http", port=8080, protocol="TCP")],
            ),
        ],
    ),
    "10.96.0.10",
)


def values(name: str, kind: str = "A") -> list[object]:
    answer = ZONE.resolve(name, kind)
    assert answer is not None
    return [record.value for record in answer.records]


def test_a_service_is_at_its_cluster_ip():
    answer = ZONE.resolve("web.default.svc.cluster.local.", "A")
    assert answer.records == (Record("web.default.svc.cluster.local.", "A", "10.96.0.20"),)
    assert not answer.has_soa


def test_letters_case_does_not_matter():
    assert values("WEB.Default.svc.Cluster.LOCAL.") == ["10.96.0.20"]


def test_a_headless_service_is_at_its_ready_endpoints():
    assert values("db.default.svc.cluster.local.") == ["10.244.1.5", "10.244.2.6"]


def test_one_endpoint_is_found_by_hostname_or_by_its_address_with_dashes():
    assert values("db-0.db.default.svc.cluster.local.") == ["10.244.1.5"]
    assert values("10-244-2-6.db.default.svc.cluster.local.") == ["10.244.2.6"]
    assert ZONE.resolve("db-1.db.default.svc.cluster.local.", "A") == NXDOMAIN
    assert ZONE.resolve("x.web.default.svc.cluster.local.", "A") == NXDOMAIN


def test_srv_of_a_service_names_its_port_and_its_name():
    answer = ZONE.resolve("_http._tcp.web.default.svc.cluster.local.", "SRV")
    assert [record.value for record in answer.records] == [Srv(80, "web.default.svc.cluster.local.")]
    assert answer.extra == (Record("web.default.svc.cluster.local.", "A", "10.96.0.20"),)
    assert ZONE.resolve("_http._udp.web.default.svc.cluster.local.", "SRV") == NXDOMAIN
    assert ZONE.resolve("_http._tcp.web.default.svc.cluster.local.", "A") == NONE


def test_srv_of_a_headless_service_names_each_endpoint():
    assert values("_sql._tcp.db.default.svc.cluster.local.", "SRV") == [
        Srv(5432, "db-0.db.default.svc.cluster.local.", weight=50),
        Srv(5432, "10-244-2-6.db.default.svc.cluster.local.", weight=50),
    ]


def test_a_pods_name_spells_its_address():
    assert values("10-244-1-5.default.pod.cluster.local.") == ["10.244.1.5"]
    assert ZONE.resolve("nonsense.default.pod.cluster.local.", "A") == NXDOMAIN


def test_endpoints_of_a_service_with_an_address_have_names_too_but_are_not_at_the_services():
    assert values("10-244-4-8.web.default.svc.cluster.local.") == ["10.244.4.8"]
    assert values("8.4.244.10.in-addr.arpa.", "PTR") == ["10-244-4-8.web.default.svc.cluster.local."]
    assert values("web.default.svc.cluster.local.") == ["10.96.0.20"]


def test_reverse_names_give_services_and_endpoints():
    assert values("20.0.96.10.in-addr.arpa.", "PTR") == ["web.default.svc.cluster.local."]
    assert values("5.1.244.10.in-addr.arpa.", "PTR") == ["db-0.db.default.svc.cluster.local."]
    assert ZONE.resolve("1.1.1.1.in-addr.arpa.", "PTR") is None
    assert ZONE.resolve("nonsense.in-addr.arpa.", "PTR") is None


def test_an_external_name_outside_is_to_be_chased_and_one_inside_is_resolved():
    answer = ZONE.resolve("elsewhere.default.svc.cluster.local.", "A")
    assert [record.value for record in answer.records] == ["example.org."]
    assert answer.chase == "example.org."
    assert values("alias.default.svc.cluster.local.") == ["web.default.svc.cluster.local.", "10.96.0.20"]


def test_an_external_name_that_names_itself_is_an_error_and_not_an_endless_loop():
    assert ZONE.resolve("loop.default.svc.cluster.local.", "A").rcode == Rcode.SERVFAIL


@pytest.mark.parametrize(
    "name",
    [
        "nosuch.default.svc.cluster.local.",
        "web.nosuch.svc.cluster.local.",
        "nosuch.svc.cluster.local.",
        "x.cluster.local.",
        "a.b.c.web.default.svc.cluster.local.",
        "google.com.default.svc.cluster.local.",
    ],
)
def test_a_name_that_does_not_exist_is_nxdomain_with_the_zones_soa(name):
    answer = ZONE.resolve(name, "A")
    assert (answer.rcode, answer.records, answer.has_soa) == (Rcode.NXDOMAIN, (), True)


@pytest.mark.parametrize(
    "name, kind",
    [
        ("web.default.svc.cluster.local.", "AAAA"),
        ("default.svc.cluster.local.", "A"),
        ("svc.cluster.local.", "A"),
        ("cluster.local.", "A"),
        ("_tcp.web.default.svc.cluster.local.", "SRV"),
    ],
)
def test_a_name_that_exists_without_such_a_record_is_no_error(name, kind):
    assert ZONE.resolve(name, kind) == NONE


def test_the_zone_says_which_specification_it_follows_and_who_serves_it():
    assert values("dns-version.cluster.local.", "TXT") == ["1.1.0"]
    assert values("cluster.local.", "NS") == ["ns.dns.cluster.local."]
    assert values("ns.dns.cluster.local.") == ["10.96.0.10"]


@pytest.mark.parametrize("name", ["example.org.", "cluster.local.example.org.", "notcluster.local.", "."])
def test_other_peoples_names_are_not_ours_to_answer(name):
    assert ZONE.resolve(name, "A") is None
