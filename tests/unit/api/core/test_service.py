import copy
import json
from typing import Any

import pytest

from api import serde, validation
from api.core import service


def a_service(**spec: Any) -> service.Service:
    body = {"metadata": {"name": "a", "namespace": "d"}, "spec": {"ports": [{"port": 80}], **spec}}
    made = serde.decode(json.dumps(body).encode(), service.RESOURCE, field_validation="Strict").object
    service.RESOURCE.default(made)
    service.RESOURCE.prepare_for_create(made)
    return made


def wrong(new: service.Service, old: service.Service | None = None) -> list[str]:
    return [f"{e.path}: {e.message}" for e in validation.find_errors(service.RESOURCE, new, old)]


def test_a_service_gets_upstreams_defaults() -> None:
    assert serde.to_value(a_service())["spec"] == {
        "type": "ClusterIP",
        "sessionAffinity": "None",
        "internalTrafficPolicy": "Cluster",
        "ports": [{"port": 80, "protocol": "TCP", "targetPort": 80}],
    }
    assert a_service(type="NodePort").spec.external_traffic_policy == "Cluster"
    assert a_service(type="LoadBalancer").spec.allocate_load_balancer_node_ports is True
    assert a_service(sessionAffinity="ClientIP").spec.session_affinity_config == service.SessionAffinityConfig(
        client_ip=service.ClientIPConfig(timeout_seconds=10800)
    )


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"ports": []}, "spec.ports: Required value"),
        (
            {"externalIPs": ["127.0.0.1"]},
            'spec.externalIPs[0]: Invalid value: "127.0.0.1": may not be in the loopback range',
        ),
        ({"loadBalancerSourceRanges": ["10.0.0.0/8"]}, "spec.LoadBalancerSourceRanges: Forbidden"),
        ({"loadBalancerClass": "a/b"}, "spec.loadBalancerClass: Forbidden"),
        ({"healthCheckNodePort": 30001}, "spec.healthCheckNodePort: Invalid value: 30001: may only be set when"),
        ({"ipFamilyPolicy": "Both"}, 'spec.ipFamilyPolicy: Unsupported value: "Both"'),
        ({"ports": [{"port": 80, "appProtocol": "b@d"}]}, "spec.ports[0].appProtocol: Invalid value"),
        ({"type": "Local"}, 'spec.type: Unsupported value: "Local": supported values: "ClusterIP", "ExternalName", '),
        (
            {"ports": [{"port": 0, "targetPort": 1}]},
            "spec.ports[0].port: Invalid value: 0: must be between 1 and 65535, inclusive",
        ),
        ({"ports": [{"port": 1, "name": "a"}, {"port": 2}]}, "spec.ports[1].name: Required value"),
        ({"ports": [{"port": 1, "name": "a"}, {"port": 2, "name": "a"}]}, 'spec.ports[1].name: Duplicate value: "a"'),
        (
            {"ports": [{"port": 1, "name": "a"}, {"port": 1, "name": "b"}]},
            'spec.ports[1]: Duplicate value: core.ServicePort{Name:"", Protocol:"TCP", AppProtocol:(*string)(nil), '
            'Port:1, TargetPort:intstr.IntOrString{Type:0, IntVal:0, StrVal:""}, NodePort:0}',
        ),
        (
            {"ports": [{"port": 1, "nodePort": 30000}]},
            "spec.ports[0].nodePort: Forbidden: may not be used when `type` is 'ClusterIP'",
        ),
        ({"ports": [{"port": 1, "targetPort": "a b"}]}, "spec.ports[0].targetPort: Invalid value"),
        ({"sessionAffinity": "Maybe"}, "spec.sessionAffinity: Unsupported value"),
        ({"clusterIP": "x"}, "spec.clusterIPs[0]: Invalid value"),
        (
            {"clusterIP": "None", "type": "NodePort"},
            "spec.clusterIPs[0]: Invalid value: \"None\": may not be set to 'None' for NodePort services",
        ),
        (
            {"externalTrafficPolicy": "Local"},
            'spec.externalTrafficPolicy: Invalid value: "Local": may only be set for externally-accessible',
        ),
        ({"type": "ExternalName"}, "spec.externalName: Required value"),
    ],
)
def test_what_a_service_may_not_be(spec: dict[str, Any], message: str) -> None:
    errors = wrong(a_service(**spec))
    assert len(errors) == 1, errors
    assert errors[0].startswith(message)


def test_a_headless_service_needs_no_ports() -> None:
    assert wrong(a_service(clusterIP="None", ports=[])) == []


def test_a_cluster_ip_stays() -> None:
    old = a_service(clusterIP="10.96.0.5")
    new = copy.deepcopy(old)
    new.spec.cluster_ip = "10.96.0.6"
    service.RESOURCE.prepare_for_update(new, old)
    assert wrong(new, old) == ['spec.clusterIPs[0]: Invalid value: []string{"10.96.0.6"}: may not change once set']


def test_what_only_the_old_type_needed_is_let_go() -> None:
    old = a_service(type="LoadBalancer")
    new = copy.deepcopy(old)
    new.spec.type = "ClusterIP"
    service.RESOURCE.default(new)
    service.RESOURCE.prepare_for_update(new, old)
    assert wrong(new, old) == []
    assert new.spec.external_traffic_policy == ""
    assert new.spec.allocate_load_balancer_node_ports is None


def test_an_alias_keeps_nothing_of_the_addresses_it_had() -> None:
    old = a_service(clusterIP="10.96.0.5", ipFamilies=["IPv4"], ipFamilyPolicy="SingleStack")
    new = copy.deepcopy(old)
    new.spec.type, new.spec.external_name = "ExternalName", "a.example.com"
    service.RESOURCE.prepare_for_update(new, old)
    assert wrong(new, old) == []
    spec = new.spec
    assert (spec.cluster_ip, spec.cluster_ips, spec.ip_families, spec.ip_family_policy) == ("", [], [], None)


def shown(made: service.Service) -> list[Any]:
    return [column.cell(made, 0.0) for column in service.RESOURCE.columns if column.name != "Age"]


def test_columns_say_how_to_reach_it() -> None:
    made = a_service(type="NodePort", clusterIP="10.96.0.5", selector={"app": "web"})
    made.spec.ports[0].node_port = 30080
    assert shown(made) == ["NodePort", "10.96.0.5", "<none>", "80:30080/TCP", "app=web"]
    assert shown(a_service(type="LoadBalancer"))[2] == "<pending>"
    assert shown(a_service(clusterIP="None", ports=[])) == ["ClusterIP", "None", "<none>", "<none>", "<none>"]


def test_an_address_of_a_load_balancer_is_a_virtual_one_unless_said_otherwise() -> None:
    made = a_service(type="LoadBalancer")
    made.status.load_balancer.ingress = [
        service.LoadBalancerIngress(ip="203.0.113.1"),
        service.LoadBalancerIngress(ip="203.0.113.2", ip_mode="Proxy"),
        service.LoadBalancerIngress(hostname="lb.example.com"),
    ]
    service.RESOURCE.default(made)
    assert [each.ip_mode for each in made.status.load_balancer.ingress] == ["VIP", "Proxy", None]


@pytest.mark.parametrize(
    ("spec", "found"),
    [
        ({"ipFamilies": ["IPv4", "IPv4"]}, ["spec.ipFamilies[1]"]),
        ({"ipFamilies": ["Odd"]}, ["spec.ipFamilies[0]"]),
        ({"clusterIP": "None", "clusterIPs": ["None", "10.96.3.3"]}, ["spec.clusterIPs"]),
        ({"clusterIP": "10.96.3.3", "clusterIPs": ["10.96.3.3", "10.96.3.4"]}, ["spec.clusterIPs"]),
        ({"clusterIP": "10.96.3.3", "clusterIPs": ["10.96.3.3", "x"]}, ["spec.clusterIPs[1]"]),
        ({"clusterIPs": ["10.96.3.3"]}, ["spec.clusterIPs"]),
        ({"clusterIP": "10.96.3.3", "ipFamilies": ["IPv6"]}, ["spec.clusterIPs[0]"]),
        ({"clusterIP": "10.96.3.3", "clusterIPs": ["10.96.3.4"]}, ["spec.clusterIPs"]),
        ({"type": "ExternalName", "externalName": "a.b", "clusterIP": "None"}, ["spec.clusterIPs"]),
        ({"type": "ExternalName", "externalName": "a.b", "ipFamilies": ["IPv4"], "ipFamilyPolicy": "SingleStack"},
         ["spec.ipFamilies", "spec.ipFamilyPolicy"]),
        ({"type": "LoadBalancer", "loadBalancerSourceRanges": ["10.0.0.1"]}, ["spec.LoadBalancerSourceRanges[0]"]),
        ({"type": "LoadBalancer", "loadBalancerSourceRanges": [" 10.0.0.1/8 "]}, []),
        ({"externalIPs": ["239.1.1.1"]}, []),
        ({"externalIPs": ["224.0.0.1"]}, ["spec.externalIPs[0]"]),
    ],
)  # fmt: skip
def test_addresses_and_their_families_agree(spec: dict[str, Any], found: list[str]) -> None:
    assert [e.path for e in validation.find_errors(service.RESOURCE, a_service(**spec), None)] == found


def test_a_second_address_comes_and_goes_and_the_first_stays() -> None:
    def of(*addresses: str, policy: str = "SingleStack") -> service.Service:
        families = ["IPv6" if ":" in address else "IPv4" for address in addresses]
        return a_service(
            clusterIP=addresses[0] if addresses else "",
            clusterIPs=list(addresses),
            ipFamilies=families,
            ipFamilyPolicy=policy,
        )

    one, two = of("10.96.0.2"), of("10.96.0.2", "fd00::2", policy="PreferDualStack")
    assert wrong(two, one) == wrong(one, two) == []
    still = of("10.96.0.2", policy="PreferDualStack")
    assert [error.partition(":")[0] for error in wrong(still, two)] == ["spec.ipFamilyPolicy"] * 2
    assert [error.partition(":")[0] for error in wrong(of("10.96.0.3"), one)] == ["spec.clusterIPs[0]"]
    assert "spec.clusterIPs[0]: Invalid value: []string(nil): primary clusterIP can not be unset" in wrong(of(), one)


def test_only_a_load_balancer_has_been_given_addresses() -> None:
    old = a_service(type="LoadBalancer")
    new = copy.deepcopy(old)
    for ingress, found in (
        ({"ip": "1.2.3.4", "ipMode": "VIP"}, []),
        ({"ip": "x", "ipMode": "Odd"}, ["status.loadBalancer.ingress[0].ip", "status.loadBalancer.ingress[0].ipMode"]),
        ({"hostname": "1.2.3.4"}, ["status.loadBalancer.ingress[0].hostname"]),
    ):
        body = {"status": {"loadBalancer": {"ingress": [ingress]}}}
        new.status = serde.decode(json.dumps(body).encode(), service.RESOURCE).object.status
        assert [e.path for e in validation.find_errors(service.RESOURCE, new, old, status=True)] == found
    errors = validation.find_errors(service.RESOURCE, new, a_service(), status=True)
    assert [e.path for e in errors] == ["status.loadBalancer.ingress"]
