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
            'spec.ports[1]: Duplicate value: {"protocol":"TCP","port":1}',
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
    assert wrong(new, old) == ['spec.clusterIPs[0]: Invalid value: ["10.96.0.6"]: may not change once set']


def test_what_only_the_old_type_needed_is_let_go() -> None:
    old = a_service(type="LoadBalancer")
    new = copy.deepcopy(old)
    new.spec.type = "ClusterIP"
    service.RESOURCE.default(new)
    service.RESOURCE.prepare_for_update(new, old)
    assert wrong(new, old) == []
    assert new.spec.external_traffic_policy == ""
    assert new.spec.allocate_load_balancer_node_ports is None


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
