"""Makes links of a proxied answer lead back through the proxy: `Location`, and the attributes of HTML that hold URLs.

A page that says `<a href="/x">` means its own server's `/x`, which from outside is `PREFIX/x`. Links to other hosts,
and relative ones, are right as they are. Which attributes hold URLs: HTML 4.01's and HTML 5's index of attributes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from posixpath import normpath
from typing import Final
from urllib.parse import urlsplit, urlunsplit

_ATTRIBUTES: Final = {
    "a": ("href",),
    "applet": ("codebase",),
    "area": ("href",),
    "audio": ("src",),
    "base": ("href",),
    "blockquote": ("cite",),
    "body": ("background",),
    "button": ("formaction",),
    "command": ("icon",),
    "del": ("cite",),
    "embed": ("src",),
    "form": ("action",),
    "frame": ("longdesc", "src"),
    "head": ("profile",),
    "html": ("manifest",),
    "iframe": ("longdesc", "src"),
    "img": ("longdesc", "src", "usemap"),
    "input": ("formaction", "src", "usemap"),
    "ins": ("cite",),
    "link": ("href",),
    "object": ("classid", "codebase", "data", "usemap"),
    "q": ("cite",),
    "script": ("src",),
    "source": ("src",),
    "video": ("poster", "src"),
}
PENDING_BYTES_MAX: Final = 64 * 1024
"""A tag longer than this is passed on as it is."""

_TAG: Final = re.compile(rb"<([a-zA-Z][a-zA-Z0-9]*)((?:\s[^<>\"']*|\"[^\"]*\"|'[^']*')*)>")
_ATTRIBUTE: Final = re.compile(rb"(\s)([a-zA-Z-]+)(\s*=\s*)(\"[^\"]*\"|'[^']*'|[^\s\"'=<>`]+)")
_RAW: Final = {b"script": b"</script", b"style": b"</style", b"textarea": b"</textarea", b"title": b"</title"}
"""Elements whose content is text, whatever it looks like."""
_COMMENT: Final = b"<!--"


def rewrite(url: str, prefix: str, backend: str, host: str) -> str:
    """Return `url`, from an answer of `backend` (host:port) to a client that asked `host`, as that client needs it."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return url
    if (parts.netloc and parts.netloc not in (backend, host)) or not parts.path.startswith("/"):
        return url
    if parts.scheme not in ("", "http", "https"):
        return url
    path = parts.path
    if not f"{path}/".startswith(f"{prefix}/"):
        slash = "/" if path.endswith("/") else ""
        path = prefix + normpath(path).replace("//", "/").rstrip("/") + slash
    return urlunsplit(("", "", path, parts.query, parts.fragment))


class HtmlRewriter:
    """Rewrites a page as it passes, holding no more of it than one tag."""

    def __init__(self, prefix: str, backend: str, host: str) -> None:
        self._prefix, self._backend, self._host = prefix, backend, host
        self._pending = b""
        self._until = b""
        """What ends the text we are in; empty outside."""

    def feed(self, data: bytes) -> bytes:
        """Return what of the page so far can be passed on."""
        self._pending += data
        return b"".join(self._pieces(is_last=False))

    def finish(self) -> bytes:
        """Return the rest."""
        return b"".join(self._pieces(is_last=True)) + self._take(len(self._pending))

    def _take(self, count: int) -> bytes:
        taken, self._pending = self._pending[:count], self._pending[count:]
        return taken

    def _pieces(self, *, is_last: bool) -> Iterator[bytes]:
        while self._pending:
            if self._until:
                at = self._pending.lower().find(self._until)
                if at < 0:
                    yield self._take(max(0, len(self._pending) - len(self._until) + 1))
                    return
                yield self._take(at + len(self._until))
                self._until = b""
                continue
            at = self._pending.find(b"<")
            if at < 0:
                yield self._take(len(self._pending))
                return
            yield self._take(at)
            if self._pending.startswith(_COMMENT):
                self._until = b"-->"
                yield self._take(len(_COMMENT))
                continue
            tag = _TAG.match(self._pending)
            if tag is not None:
                self._until = _RAW.get(tag[1].lower(), b"")
                self._pending = self._pending[tag.end() :]
                yield self._tag(tag)
            elif is_last or self._is_no_tag() or len(self._pending) > PENDING_BYTES_MAX:
                yield self._take(1)
            else:
                return

    def _is_no_tag(self) -> bool:
        """Whether what begins here can be seen not to be a tag of interest; else more of it may be to come."""
        if len(self._pending) < len(_COMMENT):
            return False
        after = self._pending[1:2]
        return not after.isalpha() or b">" in self._pending

    def _tag(self, tag: re.Match[bytes]) -> bytes:
        wanted = _ATTRIBUTES.get(tag[1].lower().decode("ascii"))
        if wanted is None:
            return tag[0]

        def replace(found: re.Match[bytes]) -> bytes:
            if found[2].lower().decode("ascii") not in wanted:
                return found[0]
            quote = found[4][:1] if found[4][:1] in (b'"', b"'") else b""
            value = found[4][1:-1] if quote else found[4]
            url = rewrite(value.decode("latin-1"), self._prefix, self._backend, self._host).encode("latin-1")
            return found[1] + found[2] + found[3] + quote + url + quote

        return b"<" + tag[1] + _ATTRIBUTE.sub(replace, tag[2]) + b">"
