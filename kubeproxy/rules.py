"""Services as iptables rules. Pure: equal state gives equal text, and the difference of two states is text too.

A packet to a Service meets these chains of the nat table, each choosing the next:

    KUBE-SERVICES     by destination address and port; last of all, by NodePort
    KUBE-EXT-...      it came from outside: mark it for masquerading, or keep to this node's endpoints
    KUBE-SVC-...      one of all endpoints, each with equal probability; a client with affinity meets its old one
    KUBE-SVL-...      the same over this node's endpoints (traffic policy Local)
    KUBE-SEP-...      one endpoint: translate the destination; a pod that reached itself is masqueraded
    KUBE-POSTROUTING  masquerade what was marked

In the filter table, addresses without endpoints are rejected at once instead of left to time out, load balancers'
source ranges are enforced, and forwarding of what was translated is admitted.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain as flatten

from api.core.service import Service
from api.discovery.endpointslice import EndpointSlice
from kubeproxy import chains
from kubeproxy.chains import comment
from kubeproxy.topology import NodeView, ServedPort, Target, served_ports, service_of

Rules = tuple[str, ...]
"""The rules of one chain in order, each without its `-A CHAIN`."""

TABLES = ("filter", "nat")


@dataclass(frozen=True, slots=True)
class Ruleset:
    """Every chain of ours in both tables. Chains that the kernel owns (PREROUTING, ...) are `JUMPS`."""

    filter: Mapping[str, Rules] = field(default_factory=dict)
    nat: Mapping[str, Rules] = field(default_factory=dict)

    def table(self, name: str) -> Mapping[str, Rules]:
        """Return the chains of a table."""
        return self.nat if name == "nat" else self.filter


@dataclass(frozen=True, slots=True)
class Jump:
    """How packets get from one of the kernel's chains into one of ours."""

    table: str
    source: str
    target: str
    match: str = ""
    is_last: bool = False
    """Appended rather than put first."""


_NEW = "-m conntrack --ctstate NEW"
JUMPS = (
    Jump("nat", "PREROUTING", chains.SERVICES, comment("kubernetes service portals")),
    Jump("nat", "OUTPUT", chains.SERVICES, comment("kubernetes service portals")),
    Jump("nat", "POSTROUTING", chains.POD_EGRESS, comment("kubernetes pod egress"), is_last=True),
    Jump("nat", "POSTROUTING", chains.POSTROUTING, comment("kubernetes postrouting rules")),
    Jump("filter", "INPUT", chains.EXTERNAL_SERVICES, f"{_NEW} {comment('kubernetes externally-visible services')}"),
    Jump("filter", "FORWARD", chains.EXTERNAL_SERVICES, f"{_NEW} {comment('kubernetes externally-visible services')}"),
    Jump("filter", "OUTPUT", chains.SERVICES, f"{_NEW} {comment('kubernetes service portals')}"),
    Jump("filter", "FORWARD", chains.SERVICES, f"{_NEW} {comment('kubernetes service portals')}"),
    Jump("filter", "FORWARD", chains.FORWARD, comment("kubernetes forwarding rules")),
    Jump("filter", "INPUT", chains.PROXY_FIREWALL, f"{_NEW} {comment('kubernetes load balancer firewall')}"),
    Jump("filter", "OUTPUT", chains.PROXY_FIREWALL, f"{_NEW} {comment('kubernetes load balancer firewall')}"),
    Jump("filter", "FORWARD", chains.PROXY_FIREWALL, f"{_NEW} {comment('kubernetes load balancer firewall')}"),
    Jump("filter", "INPUT", chains.FIREWALL),
    Jump("filter", "OUTPUT", chains.FIREWALL),
)


@dataclass(frozen=True, slots=True)
class PortRules:
    """What one port adds: chains of its own, and lines in the chains that all share."""

    nat: Mapping[str, Rules]
    services: Rules = ()
    nodeports: Rules = ()
    rejects: Rules = ()
    external_rejects: Rules = ()
    firewall: Rules = ()


def compile_rules(services: Iterable[Service], endpoint_slices: Iterable[EndpointSlice], node: NodeView) -> Ruleset:
    """Return every rule for `services` on `node`."""
    slices: dict[tuple[str, str], list[EndpointSlice]] = {}
    for slice in endpoint_slices:
        slices.setdefault((slice.metadata.namespace, service_of(slice)), []).append(slice)
    ports = flatten.from_iterable(
        served_ports(service, slices.get((service.metadata.namespace, service.metadata.name), ()), node)
        for service in services
    )
    return assemble([(port.name, compile_port(port, node)) for port in ports], node)


def assemble(ports: Iterable[tuple[str, PortRules]], node: NodeView) -> Ruleset:
    """Return the whole of what single ports add, in the order of their names."""
    ordered = [rules for _, rules in sorted(ports, key=lambda entry: entry[0])]
    nat: dict[str, Rules] = {
        chains.MARK_MASQ: (f"-j MARK --or-mark {chains.MASQUERADE_MARK}",),
        chains.POSTROUTING: (
            f"-m mark ! --mark {chains.MASQUERADE_MARK}/{chains.MASQUERADE_MARK} -j RETURN",
            # Taken off again: a packet may pass a second time, inside a tunnel.
            f"-j MARK --xor-mark {chains.MASQUERADE_MARK}",
            f"{comment('kubernetes service traffic requiring SNAT')} -j MASQUERADE --random-fully",
        ),
        chains.POD_EGRESS: (
            f"-s {node.cluster_cidr} ! -d {node.cluster_cidr} {comment('pods look like their node from outside')} "
            "-j MASQUERADE --random-fully",
        )
        if node.cluster_cidr
        else (),
    }
    services: list[str] = []
    nodeports: list[str] = []
    rejects: list[str] = []
    external_rejects: list[str] = []
    firewall: list[str] = []
    for rules in ordered:
        nat.update(rules.nat)
        services += rules.services
        nodeports += rules.nodeports
        rejects += rules.rejects
        external_rejects += rules.external_rejects
        firewall += rules.firewall
    last = comment("kubernetes service nodeports; NOTE: this must be the last rule in this chain")
    nat[chains.SERVICES] = (*services, f"{last} -m addrtype --dst-type LOCAL -j {chains.NODEPORTS}")
    nat[chains.NODEPORTS] = tuple(nodeports)
    mark = f"{chains.MASQUERADE_MARK}/{chains.MASQUERADE_MARK}"
    return Ruleset(
        nat=nat,
        filter={
            chains.SERVICES: tuple(rejects),
            chains.EXTERNAL_SERVICES: tuple(external_rejects),
            chains.PROXY_FIREWALL: tuple(firewall),
            chains.FORWARD: (
                # A late packet of a flow that conntrack forgot would go out untranslated and reset the client.
                "-m conntrack --ctstate INVALID -j DROP",
                f"{comment('kubernetes forwarding rules')} -m mark --mark {mark} -j ACCEPT",
                f"{comment('kubernetes forwarding conntrack rule')} -m conntrack --ctstate RELATED,ESTABLISHED "
                "-j ACCEPT",
            ),
            chains.FIREWALL: (
                # route_localnet, which NodePorts on localhost need, would let neighbours reach our loopback:
                # CVE-2020-8558.
                f"! -s 127.0.0.0/8 -d 127.0.0.0/8 {comment('block incoming localnet connections')} "
                "-m conntrack ! --ctstate RELATED,ESTABLISHED,DNAT -j DROP",
            ),
        },
    )


def compile_port(port: ServedPort, node: NodeView) -> PortRules:
    """Return what one port adds."""
    return _PortCompiler(port, node).compile()


class _PortCompiler:
    """Builds one port's rules; the parts of a rule that repeat are computed once."""

    def __init__(self, port: ServedPort, node: NodeView) -> None:
        self.port, self.node = port, node
        self.svc = chains.cluster_policy(port.name, port.protocol)
        self.svl = chains.local_policy(port.name, port.protocol)
        self.ext = chains.external(port.name, port.protocol)
        self.fw = chains.firewall(port.name, port.protocol)
        self.nat: dict[str, Rules] = {}

    def to(self, address: str, number: int, note: str) -> str:
        """Return the match for packets to an address and port; an empty address matches any."""
        protocol = self.port.protocol
        destination = f" -d {address}/32" if address else ""
        return f"{comment(f'{self.port.name} {note}')} -p {protocol}{destination} -m {protocol} --dport {number}"

    def compile(self) -> PortRules:
        port = self.port
        services: list[str] = []
        nodeports: list[str] = []
        rejects: list[str] = []
        external_rejects: list[str] = []
        firewall: list[str] = []

        cluster_ip = self.to(port.cluster_ip, port.port, "cluster IP")
        if port.internal_targets:
            services.append(f"{cluster_ip} -j {self.svl if port.is_internal_local else self.svc}")
        elif port.has_targets_elsewhere:
            rejects.append(f"{self.to(port.cluster_ip, port.port, 'has no local endpoints')} -j DROP")
        else:
            rejects.append(f"{self.to(port.cluster_ip, port.port, 'has no endpoints')} -j REJECT")

        verdict, reason = "REJECT", "has no endpoints"
        if port.has_targets_elsewhere:
            # Another node would answer: a load balancer should try there, not hear that nobody does.
            verdict, reason = "DROP", "has no local endpoints"
        # With the Local policy traffic from this node and its pods may still go anywhere, so the chain is needed.
        is_open = bool(port.external_targets) or (port.is_external_local and bool(port.cluster_targets))
        for address in (*port.external_ips, *port.ingress_ips):
            is_ingress = address in port.ingress_ips
            if is_open:
                note = "loadbalancer IP" if is_ingress else "external IP"
                guarded = is_ingress and bool(port.source_ranges)
                services.append(f"{self.to(address, port.port, note)} -j {self.fw if guarded else self.ext}")
                if guarded:
                    firewall.append(f"{self.to(address, port.port, 'traffic not accepted by ' + self.fw)} -j DROP")
            if not port.external_targets:
                external_rejects.append(f"{self.to(address, port.port, reason)} -j {verdict}")
        if port.node_port:
            if is_open:
                nodeports.append(f"{self.to('', port.node_port, 'node port')} -j {self.ext}")
            if not port.external_targets:
                match = self.to("", port.node_port, reason)
                external_rejects.append(f"{match} -m addrtype --dst-type LOCAL -j {verdict}")

        self._add_chains()
        return PortRules(
            nat=self.nat,
            services=tuple(services),
            nodeports=tuple(nodeports),
            rejects=tuple(rejects),
            external_rejects=tuple(external_rejects),
            firewall=tuple(firewall),
        )

    def _add_chains(self) -> None:
        port = self.port
        cluster_targets, local_targets = port.cluster_targets, port.local_targets
        uses_cluster = bool(cluster_targets) and (not port.is_internal_local or port.has_external_address)
        uses_local = bool(local_targets) and (port.is_internal_local or port.is_external_local)
        if uses_cluster:
            self.nat[self.svc] = self._spread(cluster_targets)
        if uses_local:
            self.nat[self.svl] = self._spread(local_targets)
        if port.has_external_address and cluster_targets:
            self.nat[self.ext] = self._external(uses_local)
            if port.ingress_ips and port.source_ranges:
                allowed = [f"{comment(port.name)} -s {source} -j {self.ext}" for source in port.source_ranges]
                # The load balancer's own address, seen as source when a node health-checks through it.
                allowed += [f"{comment(port.name)} -s {address}/32 -j {self.ext}" for address in port.ingress_ips]
                self.nat[self.fw] = tuple(allowed)
        used = {*(cluster_targets if uses_cluster else ()), *(local_targets if uses_local else ())}
        for target in sorted(used):
            self.nat[self._endpoint_chain(target)] = self._endpoint(target)

    def _external(self, has_local: bool) -> Rules:
        port = self.port
        if not port.is_external_local:
            note = comment(f"masquerade traffic for {port.name} external destinations")
            return (f"{note} -j {chains.MARK_MASQ}", f"-j {self.svc}")
        pods = comment(f"pod traffic for {port.name} external destinations")
        own = comment(f"masquerade LOCAL traffic for {port.name} external destinations")
        route = comment(f"route LOCAL traffic for {port.name} external destinations")
        rules = [f"{pods} -s {self.node.cluster_cidr} -j {self.svc}"] if self.node.cluster_cidr else []
        rules += [
            f"{own} -m addrtype --src-type LOCAL -j {chains.MARK_MASQ}",
            f"{route} -m addrtype --src-type LOCAL -j {self.svc}",
        ]
        if has_local:
            rules.append(f"-j {self.svl}")
        return tuple(rules)

    def _spread(self, targets: Sequence[Target]) -> Rules:
        port, rules = self.port, list[str]()
        if self.node.cluster_cidr:
            # Whoever is not a pod is given the node's address, so that answers come back through here.
            match = self.to(port.cluster_ip, port.port, "cluster IP")
            rules.append(f"! -s {self.node.cluster_cidr} {match} -j {chains.MARK_MASQ}")
        if port.affinity_s:
            for target in targets:
                name = self._endpoint_chain(target)
                recent = f"-m recent --name {name} --rcheck --seconds {port.affinity_s} --reap --rsource"
                rules.append(f"{comment(f'{port.name} -> {target}')} {recent} -j {name}")
        for position, target in enumerate(targets):
            left = len(targets) - position
            # Those before had their chance: 1/n of the rest each gives all the same share.
            chance = f"-m statistic --mode random --probability {1 / left:.10f} " if left > 1 else ""
            rules.append(f"{comment(f'{port.name} -> {target}')} {chance}-j {self._endpoint_chain(target)}")
        return tuple(rules)

    def _endpoint_chain(self, target: Target) -> str:
        return chains.endpoint(self.port.name, self.port.protocol, str(target))

    def _endpoint(self, target: Target) -> Rules:
        port, name = self.port, self._endpoint_chain(target)
        remember = f"-m recent --name {name} --set --rsource " if port.affinity_s else ""
        return (
            # Through its own Service back to itself (hairpin): unmasqueraded, it would answer itself directly.
            f"-s {target.address}/32 {comment(port.name)} -j {chains.MARK_MASQ}",
            f"{comment(port.name)} -p {port.protocol} {remember}-m {port.protocol} -j DNAT --to-destination {target}",
        )


def diff(old: Ruleset, new: Ruleset) -> str:
    """Return the input for `iptables-restore --noflush` that turns `old` into `new`; empty when they are equal.

    Only chains that differ are in it. Applied to `new` again it changes nothing.
    """
    return render(changed_chains(old, new))


@dataclass(frozen=True, slots=True)
class Edit:
    """Some rules of a long chain replaced by others, the rest left in place."""

    first: int
    """Number of the first rule concerned, from 1, as iptables counts."""
    removed: int
    added: Rules


@dataclass(frozen=True, slots=True)
class TableChange:
    """What to do to one table."""

    table: str
    write: Mapping[str, Rules]
    """Chains to empty and fill anew."""
    remove: Sequence[str] = ()
    jumps: Sequence[Jump] = ()
    edit: Mapping[str, Edit] = field(default_factory=dict)


EDIT_FROM_RULES = 200
"""Chains at least this long are edited where that is less work than writing them anew."""
CHAINS_PER_CALL = 1_000
"""For nf_tables: iptables-restore's own time grows with the square of a call's chains; a thousand take 0.4 s."""


def changed_chains(old: Ruleset, new: Ruleset) -> list[TableChange]:
    """Return what differs, table by table."""
    changes = []
    for table in TABLES:
        before, after = old.table(table), new.table(table)
        edit: dict[str, Edit] = {}
        # Unchanged ports share their tuples with the state before, so most comparisons are of identity.
        write = {
            name: rules for name, rules in after.items() if before.get(name) is not rules and before.get(name) != rules
        }
        for name in [name for name in write if len(before.get(name, ())) >= EDIT_FROM_RULES]:
            found = compute_edit(before[name], after[name])
            if found.removed + len(found.added) < len(after[name]) // 4:
                edit[name] = found
                del write[name]
        remove = [name for name in before if name not in after]
        if write or remove or edit:
            changes.append(TableChange(table, write, remove, edit=edit))
    if [change.table for change in changes] == list(TABLES):
        return _without_a_gap(changes[0], changes[1], old.filter)
    return changes


def _without_a_gap(filter: TableChange, nat: TableChange, before: Mapping[str, Rules]) -> list[TableChange]:
    """Return the changes of both tables in an order that leaves no Service without an answer in between.

    Tables are committed one after the other. Between the two, an address that is rejected no longer and not translated
    yet would lead a new connection nowhere, and the kernel would remember that for all its retries. So what is to be
    rejected is added first, and what no longer is goes last: translated packets never meet these rules.
    """
    write = {
        name: (*rules, *(rule for rule in before.get(name, ()) if rule not in rules))
        for name, rules in filter.write.items()
    }
    first = TableChange(
        "filter", write, (), filter.jumps, {n: Edit(e.first, 0, e.added) for n, e in filter.edit.items()}
    )
    last = TableChange(
        "filter",
        {name: rules for name, rules in filter.write.items() if len(write[name]) > len(rules)},
        filter.remove,
        (),
        {n: Edit(e.first + len(e.added), e.removed, ()) for n, e in filter.edit.items() if e.removed},
    )
    return [first, nat, last] if last.write or last.remove or last.edit else [first, nat]


def compute_edit(before: Rules, after: Rules) -> Edit:
    """Return the one stretch of rules in which two states of a chain differ."""
    shorter = min(len(before), len(after))
    start = next((i for i in range(shorter) if before[i] != after[i]), shorter)
    end = next((i for i in range(shorter - start) if before[-1 - i] != after[-1 - i]), shorter - start)
    return Edit(start + 1, len(before) - end - start, after[start : len(after) - end])


def replace_all(existing: Mapping[str, Iterable[str]], present: Iterable[Jump], new: Ruleset) -> list[TableChange]:
    """Return what makes the kernel hold exactly `new`, whatever an earlier life left there.

    Args:
        existing: the chains of ours that are there now, by table.
        present: those of `JUMPS` that are there now.
        new: what should be there.
    """
    there = set(present)
    changes = []
    for table in TABLES:
        wanted = new.table(table)
        remove = [name for name in existing.get(table, ()) if name not in wanted]
        jumps = [jump for jump in JUMPS if jump.table == table and jump not in there]
        changes.append(TableChange(table, wanted, remove, jumps))
    return changes


def is_whole(existing: Mapping[str, Mapping[str, int]], present: Iterable[Jump], applied: Ruleset) -> bool:
    """Whether every chain of `applied` is there with as many rules as it should have, and every jump to them.

    Others do not change rules of ours, they take them away: a firewall's restart empties tables. So counting finds it.
    """
    return set(present) == set(JUMPS) and all(
        existing.get(table, {}).get(name) == len(rules)
        for table in TABLES
        for name, rules in applied.table(table).items()
    )


def render(changes: Iterable[TableChange]) -> str:
    """Return the input for `iptables-restore --noflush` that carries out `changes`."""
    lines: list[str] = []
    for change in changes:
        lines.append(f"*{change.table}")
        # Naming a chain makes it, or empties it; all first, so that rules may point at any of them.
        lines += [f":{name} - [0:0]" for name in sorted({*change.write, *change.remove})]
        for name in sorted(change.write):
            lines += [f"-A {name} {rule}" for rule in change.write[name]]
        for jump in change.jumps:
            command = "-A" if jump.is_last else "-I"
            match = f" {jump.match}" if jump.match else ""
            lines.append(f"{command} {jump.source}{match} -j {jump.target}")
        for name, edit in sorted(change.edit.items()):
            lines += [f"-D {name} {edit.first}"] * edit.removed
            lines += [f"-I {name} {edit.first + offset} {rule}" for offset, rule in enumerate(edit.added)]
        lines += [f"-X {name}" for name in sorted(change.remove)]
        lines.append("COMMIT")
    return "".join(line + "\n" for line in lines)


_RANKS = ("KUBE-MARK-", "KUBE-SEP-", "KUBE-SVC-", "KUBE-SVL-", "KUBE-EXT-", "KUBE-FW-")
"""Chains in the order in which they may point at each other: each only at those before."""


def split(changes: Sequence[TableChange], chains_per_call: int = CHAINS_PER_CALL) -> list[list[TableChange]]:
    """Return `changes` in portions to apply one after the other; few changes stay in one.

    Each portion only points at chains that are there by then, and only removes what nothing points at any more, so
    whoever stops half-way leaves working rules.
    """
    if sum(len(change.write) + len(change.remove) for change in changes) <= chains_per_call:
        return [list(changes)] if changes else []

    def rank(name: str) -> int:
        return next((i for i, prefix in enumerate(_RANKS) if name.startswith(prefix)), len(_RANKS))

    portions: list[list[TableChange]] = []
    last: list[TableChange] = []
    for change in changes:
        ordered = sorted((name for name in change.write if rank(name) < len(_RANKS)), key=rank)
        for first in range(0, len(ordered), chains_per_call):
            part = {name: change.write[name] for name in ordered[first : first + chains_per_call]}
            portions.append([TableChange(change.table, part)])
        shared = {name: rules for name, rules in change.write.items() if rank(name) == len(_RANKS)}
        last.append(TableChange(change.table, shared, (), change.jumps, change.edit))
    portions.append(last)
    for change in changes:
        gone = sorted(change.remove, key=rank, reverse=True)
        for first in range(0, len(gone), chains_per_call):
            portions.append([TableChange(change.table, {}, gone[first : first + chains_per_call])])
    return portions


def render_removal(existing: Mapping[str, Iterable[str]], present: Iterable[Jump]) -> str:
    """Return the input that takes everything of ours out of the kernel."""
    there = list(present)
    lines: list[str] = []
    for table in TABLES:
        names = sorted(existing.get(table, ()))
        lines.append(f"*{table}")
        lines += [f":{name} - [0:0]" for name in names]
        for jump in there:
            if jump.table == table:
                lines.append(f"-D {jump.source} {jump.match + ' ' if jump.match else ''}-j {jump.target}")
        lines += [f"-X {name}" for name in names]
        lines.append("COMMIT")
    return "".join(line + "\n" for line in lines)
