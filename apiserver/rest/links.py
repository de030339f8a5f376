"""Makes links of a proxied answer lead back through the proxy: `Location`, and the attributes of HTML that hold URLs.

A page that says `<a href="/x">` means its own server's `/x`, which from outside is `PREFIX/x`. Links to other hosts,
and relative ones, are right as they are. Which attributes hold URLs: HTML 4.01's and HTML 5's index of attributes.
"""

from __future__ import annotations

import re
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
TAG_BYTES_MAX: Final = 2048
"""A tag longer than this is passed on as it is."""

_TAG: Final = re.compile(rb"<([a-zA-Z][a-zA-Z0-9]*)((?:[\s/](?:[^<>\"']|\"[^\"]*\"|'[^']*')*)?)>")
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
        return self._passed_on(self._pending + data, is_last=False)

    def finish(self) -> bytes:
        """Return the rest."""
        return self._passed_on(self._pending, is_last=True)

    def _passed_on(self, page: bytes, *, is_last: bool) -> bytes:
        made: list[bytes] = []
        at = 0
        while at < len(page):
            if self._until:
                end = self._end_of_text(page, at)
                if end < 0 and not is_last:
                    kept = max(at, len(page) - len(self._until) + 1)
                    made.append(page[at:kept])
                    at = kept
                    break
                stop = len(page) if end < 0 else end
                made.append(page[at:stop])
                self._until, at = (self._until if end < 0 else b""), stop
                continue
            start = page.find(b"<", at)
            if start < 0:
                start = len(page)
            made.append(page[at:start])
            at = start
            is_short = len(page) - at < TAG_BYTES_MAX
            if page.startswith(_COMMENT, at):
                self._until = b"-->"
                made.append(_COMMENT)
                at += len(_COMMENT)
            elif tag := _TAG.match(page, at, at + TAG_BYTES_MAX):
                self._until = _RAW.get(tag[1].lower(), b"")
                made.append(self._tag(tag))
                at = tag.end()
            elif is_short and not is_last:
                break  # More of it may be to come.
            else:
                # No tag: what looks like one goes on as it is, up to where it would have ended.
                end = page.find(b">", at, at + TAG_BYTES_MAX) + 1 or at + 1
                made.append(page[at:end])
                at = end
        self._pending = page[at:]
        return b"".join(made)

    def _end_of_text(self, page: bytes, at: int) -> int:
        found = re.compile(re.escape(self._until), re.IGNORECASE).search(page, at)
        return found.end() if found is not None else -1

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
