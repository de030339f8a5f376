from __future__ import annotations

import pytest

from kubelet.naming import HostnameTooLong, Resolver, hostname, hosts_file, parse_resolv_conf, resolver
from tests.unit.kubelet.builders import pod

HOST = Resolver(("198.51.100.1",), ("example.com",), ("timeout:2",))
DNS = ("10.96.0.10",)


def of(**spec: object) -> Resolver:
    return resolver(pod(**spec), DNS, "cluster.local", HOST)


def test_cluster_first_asks_the_clusters_dns_with_its_search_path():
    assert of() == Resolver(
        DNS, ("default.svc.cluster.local", "svc.cluster.local", "cluster.local", "example.com"), ("ndots:5",)
    )


def test_a_pod_on_the_nodes_network_asks_as_the_node_does_unless_told_otherwise():
    assert of(hostNetwork=True) == HOST
    assert of(hostNetwork=True, dnsPolicy="ClusterFirstWithHostNet").servers == DNS
    assert of(dnsPolicy="Default") == HOST


def test_dns_config_adds_and_overrides():
    config = {"nameservers": ["192.0.2.9"], "searches": ["more"], "options": [{"name": "ndots", "value": "2"}]}
    assert of(dnsPolicy="None", dnsConfig=config) == Resolver(("192.0.2.9",), ("more",), ("ndots:2",))
    assert of(dnsConfig=config).options == ("ndots:2",)


def test_no_more_than_three_servers_are_named():
    config = {"nameservers": [f"192.0.2.{n}" for n in range(5)]}
    assert of(dnsPolicy="None", dnsConfig=config).servers == ("192.0.2.0", "192.0.2.1", "192.0.2.2")


def test_what_resolvers_would_not_take_is_left_out_and_told():
    config = {
        "nameservers": [f"192.0.2.{n}" for n in range(4)],
        "searches": ["x" * 254, *("y" * 200 + str(n) for n in range(12))],
    }
    found = of(dnsPolicy="None", dnsConfig=config)
    assert len(found.searches) == 10 and found.searches[0] == "y" * 200 + "0"
    assert found.warnings == (
        "Search Line limits were exceeded, some search paths have been omitted, the applied search line is: "
        + " ".join(found.searches),
        "Nameserver limits were exceeded, some nameservers have been omitted, "
        "the applied nameserver line is: 192.0.2.0 192.0.2.1 192.0.2.2",
    )
    assert of(dnsConfig={"searches": ["more"]}).warnings == ()


def test_resolv_conf_is_read_with_its_comments_and_its_last_search_line():
    text = "# a\nsearch one\nnameserver 192.0.2.1 # b\nsearch two .\noptions ndots:1 edns0\n"
    assert parse_resolv_conf(text) == Resolver(("192.0.2.1",), ("two",), ("ndots:1", "edns0"))


def test_a_pod_is_called_by_its_hostname_or_its_name():
    assert hostname(pod(), "cluster.local") == "web"
    assert hostname(pod(hostname="db"), "cluster.local") == "db"
    assert hostname(pod(metadata={"name": "a" * 62 + "-b"}), "cluster.local") == "a" * 62
    qualified = pod(hostname="db", subdomain="sub", setHostnameAsFQDN=True)
    assert hostname(qualified, "cluster.local") == "db.sub.default.svc.cluster.local"


def test_a_qualified_name_that_the_kernel_would_not_take_is_refused():
    with pytest.raises(
        HostnameTooLong,
        match=r"^failed to construct FQDN .* is too long \(64 characters is the max, 93 characters requested\)",
    ):
        hostname(pod(hostname="a" * 63, subdomain="sub", setHostnameAsFQDN=True), "cluster.local")


def test_the_hosts_file_names_the_pod_and_its_aliases():
    p = pod(subdomain="sub", hostAliases=[{"ip": "192.0.2.7", "hostnames": ["a", "b"]}])
    text = hosts_file(p, ("10.0.0.5",), "cluster.local", "")
    assert "10.0.0.5\tweb.sub.default.svc.cluster.local\tweb\n" in text
    assert text.endswith("192.0.2.7\ta\tb\n")
