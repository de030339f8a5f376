"""Names of chains, and the text of single rules. Pure.

Names are upstream's, hashes included, because people and tools know them: a Service port's chain is the same here as
under kube-proxy. A hash is the first 16 characters of base32(sha256(parts)).
"""

from __future__ import annotations

import base64
import hashlib
import json

SERVICES = "KUBE-SERVICES"
EXTERNAL_SERVICES = "KUBE-EXTERNAL-SERVICES"
NODEPORTS = "KUBE-NODEPORTS"
MARK_MASQ = "KUBE-MARK-MASQ"
POSTROUTING = "KUBE-POSTROUTING"
FORWARD = "KUBE-FORWARD"
FIREWALL = "KUBE-FIREWALL"
PROXY_FIREWALL = "KUBE-PROXY-FIREWALL"
POD_EGRESS = "KUBE-POD-EGRESS"
"""Ours: upstream leaves hiding pods from the world to the CNI plugin."""

MASQUERADE_MARK = "0x4000"
OURS = "KUBE-"
"""Every chain of ours starts so; other users of iptables leave such chains alone."""


def _hash(*parts: str) -> str:
    return base64.b32encode(hashlib.sha256("".join(parts).encode()).digest()).decode()[:16]


def cluster_policy(port_name: str, protocol: str) -> str:
    """Return the chain that spreads over all endpoints; `port_name` is namespace/name:port, `protocol` lower case."""
    return f"KUBE-SVC-{_hash(port_name, protocol)}"


def local_policy(port_name: str, protocol: str) -> str:
    """Return the chain that spreads over this node's endpoints."""
    return f"KUBE-SVL-{_hash(port_name, protocol)}"


def external(port_name: str, protocol: str) -> str:
    """Return the chain for traffic that came in from outside the cluster."""
    return f"KUBE-EXT-{_hash(port_name, protocol)}"


def firewall(port_name: str, protocol: str) -> str:
    """Return the chain that admits a load balancer's source ranges."""
    return f"KUBE-FW-{_hash(port_name, protocol)}"


def endpoint(port_name: str, protocol: str, target: str) -> str:
    """Return the chain of one endpoint; `target` is address:port."""
    return f"KUBE-SEP-{_hash(port_name, protocol, target)}"


def comment(text: str) -> str:
    """Return the match that carries a comment, quoted for iptables-restore and cut to what the kernel keeps."""
    return f"-m comment --comment {json.dumps(text[:255])}"
