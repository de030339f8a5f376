"""The certificates of one machine under systemd: which there are, and issuing them where the CA's key lies.

Control-plane machines have the CAs' keys and issue their own certificates, also again and again before they end. A
worker has only the cluster's CA certificate: its node's certificates come by CertificateSigningRequest
(`deploy.machine.join`), and the kubelet renews them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from component.serve import Identity
from deploy import kubeconfig, pki
from deploy.machine.plan import CONTROL_PLANE, Layout, Machine, balanced_url, server_url
from deploy.pki import FRONT_PROXY_CLIENT, STORE_CLIENT, Leaf, Pki
from deploy.plan import first_service_address
from deploy.processes import SERVICE_CIDR

USED_BY: dict[str, tuple[str, ...]] = {
    "cluster/apiserver": ("apiserver",),
    "cluster/apiserver-kubelet-client": ("apiserver",),
    "cluster/scheduler": ("scheduler",),
    "cluster/controllers": ("controllers",),
    "cluster/dns": ("dns",),
    "cluster/metrics": ("metrics",),
    "cluster/admin": (),
    "store/member": ("store",),
    "store/apiserver": ("apiserver",),
    "front-proxy/client": ("apiserver",),
    "node/client": (),
    "node/serving": (),
}
"""Which processes must be handed a new certificate; the node's are read again by whoever uses them."""
SHARED_FILES = (
    "cluster/ca.crt", "cluster/ca.key", "store/ca.crt", "store/ca.key", "front-proxy/ca.crt", "front-proxy/ca.key",
    "service-account/sa.key", "encryption/configuration.yaml",
)  # fmt: skip
"""What all control-plane machines have alike: a new one must be given it."""


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate of this machine."""

    name: str
    """Trust and stem, such as `cluster/apiserver`."""
    path: Path
    ends: datetime | None
    """None: it is missing or unreadable."""

    def days_left(self, now: datetime) -> float:
        """Return how many days it is good for; negative when it has ended or is missing."""
        return (self.ends - now).total_seconds() / 86400 if self.ends else -1.0


def server_hosts(machine: Machine) -> list[str]:
    """Return the names and addresses that this machine's API server is reached at, beside those all have."""
    return list(dict.fromkeys([machine.address, machine.name, first_service_address(SERVICE_CIDR), *machine.names]))


def issue(layout: Layout, machine: Machine, *, anew: bool = False) -> list[str]:
    """Issue what is missing, about to end, or wrong; return the processes to be handed what is new.

    `anew` issues all of them again, the CAs' own excepted.
    """
    trusts = Pki(layout.pki)
    issued = []
    of_cluster, of_store = leaves(machine)
    wanted_of = {"cluster": of_cluster, "store": of_store, "front-proxy": [FRONT_PROXY_CLIENT]}
    for trust, authority in (("cluster", trusts.cluster), ("store", trusts.store), ("front-proxy", trusts.front_proxy)):
        wanted = wanted_of[trust]
        issued += [f"{trust}/{leaf.stem}" for leaf in wanted if authority.ensure(leaf, anew=anew)]
    layout.kubelet_pki.mkdir(parents=True, exist_ok=True, mode=0o700)
    for leaf in node_leaves(machine):
        # The kubelet renews these by itself and long before; here they are made, and mended when it could not.
        trusts.cluster.ensure_in_one(leaf, layout.kubelet_pki / f"{leaf.stem}.pem", anew=anew)
    if "cluster/admin" in issued or not layout.kubeconfig.exists():
        identity = admin_identity(layout)
        # Two ways in: through this machine's balancer, which survives the loss of any API server; and, for a copy
        # of the file on another machine, straight to this one's.
        config = kubeconfig.build(balanced_url(), identity.ca, identity.cert, identity.key)
        direct = kubeconfig.build(
            server_url(machine), identity.ca, identity.cert, identity.key, context=f"{kubeconfig.CONTEXT}-direct"
        )
        for section in ("clusters", "users", "contexts"):
            config[section] += direct[section]
        kubeconfig.write(layout.kubeconfig, config)
    concerned = {process for name in issued for process in USED_BY[name]}
    return [name for name in CONTROL_PLANE if name in concerned]


def leaves(machine: Machine) -> tuple[list[Leaf], list[Leaf]]:
    """Return the certificates of a control-plane machine: of the cluster's CA, and of the store's."""
    member = pki.member_leaf("member", machine.name, [machine.address])
    return pki.control_plane_leaves(server_hosts(machine)), [member, STORE_CLIENT]


def node_leaves(machine: Machine) -> tuple[Leaf, Leaf]:
    """Return the node's certificates, as they are called in the kubelet's directory."""
    client, serving = pki.node_leaves(machine.name, [machine.address], "client", "")
    return client, Leaf("serving", serving.common_name, serving.organizations, serving.hosts)


def certificates(layout: Layout, machine: Machine) -> Iterator[Certificate]:
    """Yield every certificate of this machine, the CAs' last."""
    for name in USED_BY:
        trust, _, stem = name.partition("/")
        if trust == "node" or machine.is_control_plane:
            in_node = layout.kubelet_pki / f"{stem}.pem"
            yield _certificate(name, in_node if trust == "node" else layout.pki / trust / f"{stem}.crt")
    for trust in ("cluster", "store", "front-proxy") if machine.is_control_plane else ("cluster",):
        yield _certificate(f"{trust}/ca", layout.pki / trust / "ca.crt")


def ended_advice(found: Iterable[Certificate], *, is_control_plane: bool) -> list[str]:
    """Return what to do about those of a machine's certificates that have ended; empty when none has."""
    over = [each.name for each in found if each.days_left(now()) <= 0 and not each.name.endswith("/ca")]
    if not over:
        return []
    what = (
        "run `steer certs renew` on this machine"
        if is_control_plane
        else "run `steer token create` on a control-plane machine, and on this one `steer join` as it prints"
    )
    return [f"over: {', '.join(over)}", what]


def _certificate(name: str, path: Path) -> Certificate:
    return Certificate(name, path, pki.expiry(path))


def admin_identity(layout: Layout) -> Identity:
    """Return the certificate that may do everything in the cluster; only control-plane machines have it."""
    return _identity(layout.pki / "cluster", "admin", layout.pki / "cluster")


def store_identity(layout: Layout) -> Identity:
    """Return the certificate that the store admits."""
    return _identity(layout.pki / "store", "apiserver", layout.pki / "store")


def node_identity(layout: Layout) -> Identity:
    """Return the node's own certificate."""
    both = layout.kubelet_pki / "client.pem"
    return Identity(cert=both, key=both, ca=layout.pki / "cluster" / "ca.crt")


def _identity(directory: Path, stem: str, authority: Path) -> Identity:
    return Identity(cert=directory / f"{stem}.crt", key=directory / f"{stem}.key", ca=authority / "ca.crt")


def now() -> datetime:
    """Return the time, with its zone."""
    return datetime.now(UTC)
