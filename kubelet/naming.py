"""How a pod knows itself and finds others by name: hostname, resolv.conf, /etc/hosts. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from api.core.pod import Pod

NAMESERVERS_MAX = 3
SEARCHES_MAX = 32
SEARCH_LINE_LENGTH_MAX = 2048
SEARCH_LENGTH_MAX = 253
"""glibc gives up on longer ones."""
HOSTNAME_LENGTH_MAX = 64
"""The kernel's."""
_NDOTS = "ndots:5"


class HostnameTooLong(Exception):
    """A pod's fully qualified hostname is more than the kernel takes."""


@dataclass(frozen=True, slots=True)
class Resolver:
    """The content of a resolv.conf."""

    servers: tuple[str, ...] = ()
    searches: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    """What had to be left out of it, in upstream's words."""


def parse_resolv_conf(text: str) -> Resolver:
    """Read a resolv.conf; the last `search` line counts, as resolvers have it."""
    servers: list[str] = []
    searches: list[str] = []
    options: list[str] = []
    for line in text.splitlines():
        words = line.split("#")[0].split(";")[0].split()
        match words:
            case ["nameserver", server, *_]:
                servers.append(server)
            case ["search", *domains]:
                searches = [domain for domain in domains if domain != "."]
            case ["options", *wanted]:
                options += wanted
    return Resolver(tuple(servers), tuple(searches), tuple(options))


def resolver(pod: Pod, cluster_dns: Sequence[str], cluster_domain: str, host: Resolver) -> Resolver:
    """Return the pod's resolv.conf by its dnsPolicy and dnsConfig; the node's own is `host`."""
    policy = pod.spec.dns_policy or "ClusterFirst"
    if policy == "ClusterFirst" and pod.spec.host_network:
        policy = "Default"
    if policy == "None":
        base = Resolver()
    elif policy == "Default" or not cluster_dns:
        base = host
    else:
        domains = (f"{pod.metadata.namespace}.svc.{cluster_domain}", f"svc.{cluster_domain}", cluster_domain)
        base = Resolver(tuple(cluster_dns), (*domains, *host.searches), (_NDOTS,))
    extra = pod.spec.dns_config
    if extra is None:
        return _within_limits(base.servers, _unique(base.searches), base.options)
    options = {option.partition(":")[0]: option for option in base.options}
    for item in extra.options:
        options[item.name] = f"{item.name}:{item.value}" if item.value else item.name
    return _within_limits(
        _unique((*base.servers, *extra.nameservers)),
        _unique((*base.searches, *extra.searches)),
        tuple(options.values()),
    )


def _within_limits(servers: tuple[str, ...], searches: tuple[str, ...], options: tuple[str, ...]) -> Resolver:
    """Return what resolvers take: the first few servers and domains, in a line of limited length."""
    kept = [each for each in searches[:SEARCHES_MAX] if len(each) <= SEARCH_LENGTH_MAX]
    while len(" ".join(kept)) > SEARCH_LINE_LENGTH_MAX:
        kept.pop()
    warnings = []
    if len(kept) < len(searches):
        omitted = "Search Line limits were exceeded, some search paths have been omitted, the applied search line is: "
        warnings.append(omitted + " ".join(kept))
    if len(servers) > NAMESERVERS_MAX:
        servers = servers[:NAMESERVERS_MAX]
        omitted = (
            "Nameserver limits were exceeded, some nameservers have been omitted, the applied nameserver line is: "
        )
        warnings.append(omitted + " ".join(servers))
    return Resolver(servers, tuple(kept), options, tuple(warnings))


def _unique(items: Sequence[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(items))


def hostname(pod: Pod, cluster_domain: str) -> str:
    """Return what the pod calls itself: spec.hostname or its name, at most 63 characters; perhaps fully qualified.

    Raises:
        HostnameTooLong: it is to be fully qualified, and the kernel takes no name as long as that.
    """
    name = (pod.spec.hostname or pod.metadata.name)[:63].rstrip("-.")
    if pod.spec.set_hostname_as_fqdn and pod.spec.subdomain:
        full = f"{name}.{_domain(pod, cluster_domain)}"
        if len(full) > HOSTNAME_LENGTH_MAX:
            raise HostnameTooLong(
                f"failed to construct FQDN from pod hostname and cluster domain, FQDN {full} is too long "
                f"({HOSTNAME_LENGTH_MAX} characters is the max, {len(full)} characters requested)"
            )
        return full
    return name


def _domain(pod: Pod, cluster_domain: str) -> str:
    return f"{pod.spec.subdomain}.{pod.metadata.namespace}.svc.{cluster_domain}"


def hosts_file(pod: Pod, pod_ips: Sequence[str], cluster_domain: str, host_file: str) -> str:
    """Return the pod's /etc/hosts; a pod on the node's network gets the node's, `host_file`, and its own aliases."""
    if pod.spec.host_network:
        lines = ["# Kubernetes-managed hosts file (host network).", *host_file.rstrip("\n").splitlines()]
    else:
        lines = [
            "# Kubernetes-managed hosts file.",
            "127.0.0.1\tlocalhost",
            "::1\tlocalhost ip6-localhost ip6-loopback",
            "fe00::0\tip6-localnet",
            "fe00::0\tip6-mcastprefix",
            "fe00::1\tip6-allnodes",
            "fe00::2\tip6-allrouters",
        ]
        name = hostname(pod, cluster_domain).partition(".")[0]
        full = f"{name}.{_domain(pod, cluster_domain)}\t" if pod.spec.subdomain else ""
        lines += [f"{ip}\t{full}{name}" for ip in pod_ips]
    if pod.spec.host_aliases:
        lines += ["", "# Entries added by HostAliases."]
        lines += [alias.ip + "\t" + "\t".join(alias.hostnames) for alias in pod.spec.host_aliases]
    return "\n".join(lines) + "\n"
