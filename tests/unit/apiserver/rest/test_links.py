from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apiserver.rest.links import HtmlRewriter, rewrite

PREFIX = "/api/v1/namespaces/a/pods/web/proxy"


@pytest.mark.parametrize(
    ("url", "wanted"),
    [
        ("/x?y=1#z", f"{PREFIX}/x?y=1#z"),
        ("/x/", f"{PREFIX}/x/"),
        ("/", f"{PREFIX}/"),
        ("/a/../b", f"{PREFIX}/b"),
        ("http://10.0.0.1:80/x", f"{PREFIX}/x"),
        ("https://server:6443/x", f"{PREFIX}/x"),
        (f"{PREFIX}/x", f"{PREFIX}/x"),
        (f"{PREFIX}y", f"{PREFIX}{PREFIX}y"),
        ("x", "x"),
        ("?q", "?q"),
        ("#f", "#f"),
        ("http://other/x", "http://other/x"),
        ("//other/x", "//other/x"),
        ("mailto:a@b", "mailto:a@b"),
        ("http://[", "http://["),
        ("", ""),
    ],
)
def test_links_to_the_backend_lead_back_and_others_stay(url: str, wanted: str) -> None:
    assert rewrite(url, PREFIX, "10.0.0.1:80", "server:6443") == wanted


def rewritten(page: bytes, cuts: list[int] | None = None) -> bytes:
    rewriter = HtmlRewriter("/p", "b:80", "s")
    edges = [0, *sorted(min(cut, len(page)) for cut in cuts or []), len(page)]
    pieces = [rewriter.feed(page[start:end]) for start, end in zip(edges, edges[1:], strict=False)]
    return b"".join(pieces) + rewriter.finish()


@pytest.mark.parametrize(
    ("page", "wanted"),
    [
        (b"<a href=/x>t</a>", b"<a href=/p/x>t</a>"),
        (b"<A HREF='/x'>", b"<A HREF='/p/x'>"),
        (b'<img src="/x" alt="/y"/>', b'<img src="/p/x" alt="/y"/>'),
        (b'<form action = "/x" method=post>', b'<form action = "/p/x" method=post>'),
        (b'<p title="/x">', b'<p title="/x">'),
        (b"<!-- <a href='/x'> --><a href='/x'>", b"<!-- <a href='/x'> --><a href='/p/x'>"),
        (b"<script>a<b;'<a href=\"/x\">'</script><a href=/x>", b"<script>a<b;'<a href=\"/x\">'</script><a href=/p/x>"),
        (b"1 < 2 <> <", b"1 < 2 <> <"),
        (b"<a href='/x", b"<a href='/x"),
    ],
)
def test_attributes_that_hold_urls_are_rewritten(page: bytes, wanted: bytes) -> None:
    assert rewritten(page) == wanted


@given(
    st.lists(st.sampled_from([b"<a href='/x'>", b"<", b">", b"<!--", b"-->", b"<script>", b"</script>", b"t", b"'"])),
    st.lists(st.integers(0, 60)),
)
def test_where_a_page_is_cut_makes_no_difference(parts: list[bytes], cuts: list[int]) -> None:
    page = b"".join(parts)
    assert rewritten(page, cuts) == rewritten(page)
