"""The hosts of a cluster's nodes on this machine: their network, and what they all are given.

Between `deploy.local`, which says what a cluster should be, and `deploy.node_host` and `deploy.cluster_network`,
which make one node and one network. Needs root.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from deploy.cluster_network import ClusterNetwork, NetworkError, run
from deploy.containerd import ContainerdMissing
from deploy.images import programs
from deploy.images.archive import ImageUnavailable
from deploy.images.build import archives
from deploy.node_host import BOOT_TIMEOUT_S, NodeError, NodeHost
from deploy.plan import CLUSTER_CIDR, SERVICE_CIDR, Addresses, Cluster, Paths
from deploy.report import CannotDo, Report

FORMER_DNS_HOST = 2
"""The address of the cluster's subnet that DNS had to itself before it ran in pods."""


def hosts_of(cluster: Cluster) -> dict[str, NodeHost]:
    """Return the hosts of all nodes by name; touches nothing."""
    network = ClusterNetwork.of(cluster.directory)
    nodes = Paths(cluster.directory).nodes
    return {
        name: NodeHost(name, number, nodes / name, network, cluster_cidr=CLUSTER_CIDR, service_cidr=SERVICE_CIDR)
        for number, name in enumerate(cluster.node_names, start=1)
    }


def prepare(cluster: Cluster) -> Addresses:
    """Make the network the nodes plug into and return every address in it. Changes nothing that is right already.

    Raises:
        CannotDo: the machine lacks something, or the kernel refuses.
    """
    try:
        network = ClusterNetwork.of(cluster.directory)
        network.create()
        former = f"{network.subnet[FORMER_DNS_HOST]}/{network.subnet.prefixlen}"
        if former in run(["ip", "-oneline", "address", "show", "dev", network.bridge]):
            run(["ip", "address", "delete", former, "dev", network.bridge])
    except NetworkError as error:
        raise CannotDo(str(error)) from error
    nodes = {name: str(host.address) for name, host in hosts_of(cluster).items()}
    gateway = str(network.gateway)
    return Addresses(gateway=gateway, advertise=gateway, nodes=nodes)


def remove(cluster: Cluster) -> None:
    """Take away every node's traces in the kernel, and the network."""
    hosts = hosts_of(cluster)
    try:
        with ThreadPoolExecutor(max_workers=8) as pool:
            list(pool.map(NodeHost.destroy, hosts.values()))
        ClusterNetwork.of(cluster.directory).destroy()
    except (NodeError, NetworkError) as error:
        raise CannotDo(str(error)) from error


def load_own_images(cluster: Cluster, report: Report) -> None:
    """Give every node the pause image and the example's, building them where they are missing.

    Nodes that are still being powered on are waited for; one that does not come on is left to whoever waits for it.
    """
    try:
        built = archives(cluster.directory / "images")
    except ImageUnavailable as error:
        raise CannotDo(str(error)) from error
    wanted = [host for name, host in hosts_of(cluster).items() if name not in cluster.powered_off]
    with ThreadPoolExecutor(max_workers=8) as pool:
        list(pool.map(lambda host: host.comes_on(BOOT_TIMEOUT_S), wanted))
    _load_and_tell(cluster, built, report)


def build_programs() -> Path:
    """Return the archive of the image of our own programs, which takes a moment to build where it is not there yet.

    Raises:
        CannotDo: this machine does not have what it is made of.
    """
    try:
        return programs.archive()
    except (ImageUnavailable, OSError) as error:
        raise CannotDo(f"could not build the image of Steersman's programs: {error}") from error


def load_programs(cluster: Cluster, archive: Path, report: Report) -> str:
    """Give every node that is on the image of our own programs and return its name."""
    _load_and_tell(cluster, [archive], report)
    return programs.reference(archive)


def forget_former_programs(cluster: Cluster, image: str) -> None:
    """Remove earlier images of our own programs from every node that is on: each new line of code makes another."""
    for host in hosts_of(cluster).values():
        if host.is_on():
            with contextlib.suppress(NodeError):
                host.forget_images(programs.NAME, but=image)


def _load_and_tell(cluster: Cluster, files: list[Path], report: Report) -> None:
    for node, names in _load(cluster, files):
        if names:
            report(f"{node}: loaded {', '.join(names)}")


def load_images(cluster: Cluster, files: Iterable[Path]) -> Iterator[str]:
    """Import archives into every node that is on; yield a line for each node."""
    for node, names in _load(cluster, list(files)):
        yield f"{node}: {', '.join(names)}" if names else f"{node}: has them already"


def _load(cluster: Cluster, files: list[Path]) -> Iterator[tuple[str, list[str]]]:
    if cluster.is_hollow:
        raise CannotDo("hollow nodes have no images: any name runs")
    hosts = [host for host in hosts_of(cluster).values() if host.is_on()]
    try:
        with ThreadPoolExecutor(max_workers=4) as pool:
            loaded = list(pool.map(lambda host: host.load_images(files), hosts))
    except (NodeError, NetworkError, ContainerdMissing, ValueError, OSError) as error:
        raise CannotDo(f"could not load images: {error}") from error
    yield from ((host.name, names) for host, names in zip(hosts, loaded, strict=True))


def list_images(cluster: Cluster) -> Iterator[tuple[str, str, str]]:
    """Yield (node, image, size) of every image in every node that is on."""
    if cluster.is_hollow:
        raise CannotDo("hollow nodes have no images: any name runs")
    for host in hosts_of(cluster).values():
        if not host.is_on():
            continue
        listed = host.run(["ctr", "--address", str(host.socket), "--namespace", "k8s.io", "images", "list"])
        for line in listed.splitlines()[1:]:
            columns = line.split()
            if columns and "@sha256:" not in columns[0] and not columns[0].startswith("sha256:"):
                yield host.name, columns[0], " ".join(columns[3:5])
