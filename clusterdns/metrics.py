"""What the DNS server counts, under CoreDNS's names: dashboards made for it show ours (CoreDNS, plugin "metrics").

Its labels `view` and `plugin` tell of what there is none here, and are empty; `family` is IPv4, as all the cluster is.
"""

from __future__ import annotations

from typing import Final

from component.metrics import Spread, Tally, exponential, shared

SERVER: Final = "dns://:53"
KINDS: Final = frozenset(
    "A AAAA CNAME DNSKEY DS MX NS NSEC NSEC3 PTR RRSIG SOA SRV TXT HTTPS SVCB ANY".split()  # noqa: SIM905
)
"""Types of records that are counted under their names; a client may make up any number of others."""
_BYTES: Final = (0, 100, 200, 300, 400, 511, 1023, 2047, 4095, 8291, 16e3, 32e3, 48e3, 64e3)
_ZONE: Final = ("server", "zone", "view")

REQUESTS: Final = shared(
    Tally("coredns_dns_requests_total", "Questions.", (*_ZONE, "proto", "family", "type"))
)  # fmt: skip
RESPONSES: Final = shared(Tally("coredns_dns_responses_total", "Answers.", (*_ZONE, "rcode", "plugin")))
DURATION: Final = shared(
    Spread("coredns_dns_request_duration_seconds", "From question to answer.", _ZONE, exponential(0.00025, 2, 16))
)
REQUEST_BYTES: Final = shared(
    Spread("coredns_dns_request_size_bytes", "Size of questions.", (*_ZONE, "proto"), _BYTES)
)  # fmt: skip
RESPONSE_BYTES: Final = shared(
    Spread("coredns_dns_response_size_bytes", "Size of answers.", (*_ZONE, "proto"), _BYTES)
)  # fmt: skip
CACHE_HITS: Final = shared(
    Tally("coredns_cache_hits_total", "Forwarded questions answered from memory.", ("server", "type", "zones", "view"))
)
CACHE_MISSES: Final = shared(
    Tally("coredns_cache_misses_total", "Forwarded questions that were not in memory.", ("server", "zones", "view"))
)
FORWARDED: Final = shared(
    Spread("coredns_proxy_request_duration_seconds", "How long others took to answer.", ("proxy_name", "to", "rcode"),
           exponential(0.00025, 2, 16))
)  # fmt: skip
REJECTED: Final = shared(
    Tally("coredns_forward_max_concurrent_rejects_total", "Questions not forwarded: too many waited already.")
)


def answered(zone: str, proto: str, kind: str, rcode: str, took_s: float, asked_bytes: int, told_bytes: int) -> None:
    """Count a question and its answer; `zone` is the cluster's domain, or "." for what is other people's."""
    where = (SERVER, zone, "")
    REQUESTS.add((*where, proto, "1", kind if kind in KINDS else "other"))
    RESPONSES.add((*where, rcode, ""))
    DURATION.of(where).observe(took_s)
    REQUEST_BYTES.of((*where, proto)).observe(asked_bytes)
    RESPONSE_BYTES.of((*where, proto)).observe(told_bytes)
