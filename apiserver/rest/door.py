"""From an HTTP request to a `Call`, and from what comes back to an HTTP response.

Every failure is a `Status` in JSON with the right code. Bodies are limited to 3 MiB. Documents, which only this door
has, go through the same chain as everything else, as the call's `handler`.
"""

from __future__ import annotations

import logging
import ssl
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any, Final, Protocol, TypeVar

import msgspec
from aiohttp import hdrs, web

from api import protobuf
from api.autoscaling import scale
from api.discover import by_gvr
from api.errors import ApiError, Expired, Forbidden, InternalError, NotAcceptable
from api.resource import Resource
from apiserver import nowhere, table, uris
from apiserver.app import Api
from apiserver.filters.request_info import is_nothing_watched, is_old_watch, old_watch_options, request_info
from apiserver.nowhere import InPlainText
from apiserver.onward import Onward
from apiserver.parameters import flag, integer
from apiserver.proxies import Proxies
from apiserver.registry.failures import TooLargeVersion, no_such_verb
from apiserver.registry.fanout import Watcher
from apiserver.request import Answer, Call, Credentials, RequestInfo
from apiserver.rest import answers, in_protobuf, request_body, reused, websocket
from apiserver.rest.documents import Document, Documents
from apiserver.rest.forward import Forwarder
from apiserver.rest.frames import encodings_of, refusal_frame
from apiserver.rest.health import NAMES, Health, Report
from apiserver.rest.watch import HttpWatch
from apiserver.subresources.log import ByteStream
from apiserver.subresources.streaming import token_of
from apiserver.verbs.list import ListAnswer
from component import relay, tracing

log = logging.getLogger(__name__)

AUDIT_ID: Final = "Audit-Id"
AUDIT_ID_MAX: Final = 64
WATCH_TIMEOUT_S: Final = 1800.0
"""How long a watch lasts that does not say; up to twice as long, so that watches begun together end apart."""
R = TypeVar("R", bound=web.StreamResponse)
_HEALTH: Final = ("/healthz", "/livez", "/readyz")
_ALWAYS_PRETTY: Final = ("/", "/version", "/version/")
"""What upstream indents whoever asks."""


class Upgrades(Protocol):
    """Serves upgraded connections."""

    def takes_upgrade(self, method: str, target: str) -> bool: ...
    async def serve_upgrade(self, upgrade: relay.Upgrade) -> None: ...


class Door:
    """Handles every ordinary HTTP request; an `aiohttp.web.Server` calls it.

    Args:
        api: answers the calls.
        documents: what is not an object.
        health: answers /healthz, /livez and /readyz.
        proxies: finds who answers in our place, if anybody does.
        forwarder: carries requests to them.
    """

    def __init__(
        self,
        api: Api,
        documents: Documents,
        health: Health,
        proxies: Proxies | None = None,
        forwarder: Forwarder | None = None,
    ) -> None:
        self._proxies = proxies
        self._forwarder = forwarder
        self.upgrades: Upgrades | None = None
        """Who serves WebSockets that are asked for on connections which have carried requests before."""
        self._api = api
        self._documents = documents
        self._health = health
        self._now = api.context.clock.now
        self._watches: set[HttpWatch] = set()
        self._is_leaving = False

    def end_watches(self) -> None:
        """End all watches, and those that begin from now on, since the server stops.

        Their clients go on elsewhere from where they were. One that is cut off instead, over HTTP/2, is an error to
        client-go, after which it lists everything anew.
        """
        self._is_leaving = True
        for carried in list(self._watches):
            carried.stop()

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request."""
        call = Call(RequestInfo(request.method.lower(), request.path))
        try:
            if request.path in _HEALTH:
                return await self._report(request)
            upgrades = self.upgrades
            if upgrades and reused.is_asked_for(request) and upgrades.takes_upgrade(request.method, request.raw_path):
                return await reused.carry(request, upgrades.serve_upgrade)
            self._fill(call, request)
            if call.handler is None and not call.info.plural:
                call.handler = self._document_handler(request)
            answered = await self._api.handle(call)
            return await self._respond(request, call, answered)
        except (Expired, TooLargeVersion) as error:
            if call.info.verb != "watch":
                return self._failure(request, error, call)
            # A watch that was let in says so itself: clients look for an event, whenever it ends.
            if reused.is_asked_for(request):
                return await websocket.send_error(request, error)
            form = answers.form_of_refusal(request.headers.get(hdrs.ACCEPT, ""))
            headers = {hdrs.CONTENT_TYPE: _watch_type(form), hdrs.CACHE_CONTROL: "no-cache, private"}
            return _with_warnings(web.Response(body=refusal_frame(error, form), headers=headers), call)
        except ApiError as error:
            return self._failure(request, error, call)
        except Exception:
            log.exception("a response failed", extra={"path": request.path})
            return failure(InternalError("an error on the server has prevented the request from succeeding"), call)
        finally:
            call.finish()

    def _fill(self, call: Call, request: web.BaseRequest) -> None:
        query = uris.query_of(request.raw_path) if uris.has_broken_pairs(request.raw_path) else request.query
        call.options = {name: query[name] for name in query}
        if "dryRun" in query:
            call.options["dryRun"] = next((each for each in query.getall("dryRun") if each != "All"), "All")
        call.info = info = request_info(request.method, request.path, call.options)
        if info.plural in ("watch", "proxy") and is_nothing_watched(request.path):
            raise nowhere.nothing_asked(request.raw_path)
        call.target = request.raw_path
        if info.verb == "watch" and is_old_watch(request.path):
            call.options = old_watch_options(info, call.options)
        if info.plural:
            call.resource = by_gvr(info.group, info.version, info.plural)
        call.credentials = credentials_of(request)
        call.content_type = request.headers.get(hdrs.CONTENT_TYPE, "")
        call.remote = request.remote or ""
        call.user_agent = _readable(request.headers.get(hdrs.USER_AGENT, ""))
        call.traceparent = request.headers.get(tracing.HEADER, "")
        call.audit_id = _audit_id(request.headers.get(AUDIT_ID, ""))
        if self._proxies is not None:
            call.handler = self._proxies.finder(info, request.method, request.raw_path)
        is_head = call.resource is not None and request.method == hdrs.METH_HEAD
        if call.handler is None and (is_head or (request.method != hdrs.METH_GET and is_old_watch(request.path))):
            call.handler = _refuse
        if call.handler is None and (request.body_exists or not answers.is_plain(request)):

            async def read_body() -> bytes:
                # Who could not take the answer gets nothing done, nor learns what there is.
                answers.form_of(request, call.resource, call.info.subresource)
                return await request_body.read(request) if request.body_exists else b""

            call.read_body = read_body

    def _document_handler(self, request: web.BaseRequest) -> Callable[[Call], Awaitable[Document | Report]]:
        async def find(call: Call) -> Document | Report:
            name, _, check = request.path[1:].partition("/")
            if check and name in NAMES:
                report = await self._health.report_one(name, check, tells_why=bool(call.credentials.certificate))
                if report is not None:
                    return report
            accept = request.headers.get(hdrs.ACCEPT, "")
            return self._documents.find(request.method, request.path, call.options, accept)

        return find

    async def _respond(self, request: web.BaseRequest, call: Call, answered: Any) -> web.StreamResponse:
        match answered:
            case Onward():
                assert self._forwarder is not None
                return await self._forwarder.forward(request, call, answered)
            case ByteStream():
                if reused.is_asked_for(request):
                    return await websocket.send_bytes(request, answered)
                return await _stream(request, call, answered)
            case Watcher():
                return await self._watch(request, call, answered)
            case Report():
                return _with_warnings(_health_response(answered), call)
            case Document():
                return await _document(request, call, answered)
            case ListAnswer():
                form = answers.form_of(request, call.resource)
                await answers.prepare(answered, form)
                body, content_type = answers.list_body(answered, form, self._now())
                code = 200
            case Answer():
                form = answers.form_of(request, call.resource, call.info.subresource)
                body, content_type = answers.object_body(
                    kind_shown(call.info.subresource, call.resource), answered, form, self._now()
                )
                code = answered.code
            case _:
                raise AssertionError(f"no way to answer with {type(answered).__name__}")
        body = await answers.styled(body, form)
        headers: dict[str, str] = {hdrs.CONTENT_TYPE: content_type, hdrs.CACHE_CONTROL: "no-cache, private"}
        body = await answers.compressed(request, body, headers)
        call.answered_bytes = len(body)
        return _with_warnings(web.Response(status=code, body=body, headers=headers), call)

    async def _watch(self, request: web.BaseRequest, call: Call, watcher: Watcher) -> web.StreamResponse:
        try:
            wants_bookmarks = flag(call.options, "allowWatchBookmarks")
            is_list = wants_bookmarks and flag(call.options, "sendInitialEvents")
            form = answers.form_of(request, call.resource, may_be_tables=not is_list)
            if form.is_yaml:  # A document says nowhere that it is over.
                served = (f"{each};stream=watch" for each in table.SERVED if each != form.content_type)
                raise NotAcceptable(f"only the following media types are accepted: {', '.join(served)}")
            assert call.resource is not None
            encodings = encodings_of(call.resource, form, self._now)
            timeout_s = self._watch_timeout_s(call)
            if reused.is_asked_for(request):
                return await websocket.WebSocketWatch(watcher, encodings, wants_bookmarks).run(request, timeout_s)
            headers = {hdrs.CONTENT_TYPE: _watch_type(form), hdrs.CACHE_CONTROL: "no-cache, private"}
            response = _with_warnings(web.StreamResponse(headers=headers), call)
            carried = HttpWatch(response, watcher, encodings, wants_bookmarks)
            self._watches.add(carried)
            try:
                return await carried.run(request, 0 if self._is_leaving else timeout_s)
            finally:
                self._watches.discard(carried)
        finally:
            watcher.close()

    @staticmethod
    def _failure(request: web.BaseRequest, error: ApiError, call: Call) -> web.Response:
        accept = request.headers.get(hdrs.ACCEPT, "")
        return failure(error, call, answers.form_of_refusal(accept, answers.wants_pretty(request)))

    def _watch_timeout_s(self, call: Call) -> float:
        asked = integer(call.options, "timeoutSeconds")
        return float(max(asked, 0)) if asked else WATCH_TIMEOUT_S * (1 + self._api.context.random.random())

    async def _report(self, request: web.BaseRequest) -> web.Response:
        """Answer /healthz, /livez or /readyz: whatever else does not work, and to all but who shows a wrong token."""
        await self._api.refuse_wrong_token(credentials_of(request), request.path)
        excluded, is_verbose = request.query.getall("exclude", ()), "verbose" in request.query
        name, tells_why = request.path[1:], bool(credentials_of(request).certificate)
        report = await self._health.report(name, excluded=excluded, is_verbose=is_verbose, tells_why=tells_why)
        response = _health_response(report)
        response.headers[AUDIT_ID] = _audit_id(request.headers.get(AUDIT_ID, ""))
        return response


def kind_shown(subresource: str, resource: Resource[Any] | None) -> Resource[Any] | None:
    """Return what kind the object in an answer is, where it can be shown in other forms than its own."""
    match subresource:
        case "" | "status":
            return resource
        case "scale":
            return scale.RESOURCE
    return None


def _health_response(report: Report) -> web.Response:
    headers = {hdrs.CACHE_CONTROL: "no-cache, private", hdrs.X_CONTENT_TYPE_OPTIONS: "nosniff"}
    return web.Response(text=report.text, status=report.status, headers=headers)


def credentials_of(request: web.BaseRequest) -> Credentials:
    """Return what a request shows of who sends it; raises Unauthorized for a token that cannot be read."""
    certificate = b""
    transport = request.transport
    if transport is not None:
        tls: ssl.SSLObject | None = transport.get_extra_info("ssl_object")
        if tls is not None:
            certificate = tls.getpeercert(binary_form=True) or b""
    authorization = request.headers.get(hdrs.AUTHORIZATION, "")
    scheme, _, token = authorization.partition(" ")
    offered = token_of(websocket.offered(request)) if reused.is_asked_for(request) else ""
    return Credentials(
        certificate=certificate,
        token=(token.strip() if scheme.lower() == "bearer" else "") or offered,
        impersonate=_headers(request, "impersonate-"),
        remote=_headers(request, "x-remote-") if certificate else {},
    )


def _headers(request: web.BaseRequest, prefix: str) -> dict[str, tuple[str, ...]]:
    names = {name.lower() for name in request.headers}
    return {name: tuple(map(_readable, request.headers.getall(name))) for name in names if name.startswith(prefix)}


def _readable(value: str) -> str:
    """Return a header's value as it is shown: bytes in it that are no UTF-8 as U+FFFD."""
    return value if value.isascii() else value.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


async def _refuse(call: Call) -> Any:
    """Refuse another method than GET for what upstream routes GET alone to, such as a built-in kind's objects."""
    raise no_such_verb()


def _watch_type(form: answers.Form) -> str:
    return in_protobuf.STREAM if form.is_protobuf else "application/json"


def failure(error: ApiError, call: Call, form: answers.Form = answers.PLAIN) -> web.Response:
    """Return the response that an error is."""
    if isinstance(error, InPlainText):
        plain = {hdrs.CACHE_CONTROL: "no-cache, private", hdrs.X_CONTENT_TYPE_OPTIONS: "nosniff"}
        if error.retry_after_s:
            plain[hdrs.RETRY_AFTER] = str(error.retry_after_s)
        return _with_warnings(web.Response(status=error.code, text=f"{error.text}\n", headers=plain), call)
    body = in_protobuf.refusal_body(error) if form.is_protobuf else msgspec.json.encode(error.status()) + b"\n"
    if form.is_yaml:
        body = answers.as_yaml(body)
    elif form.is_pretty and not form.is_protobuf:
        body = msgspec.json.format(body, indent=2)
    headers = {hdrs.CONTENT_TYPE: form.content_type, hdrs.CACHE_CONTROL: "no-cache, private"}
    if isinstance(error, Forbidden):
        headers[hdrs.X_CONTENT_TYPE_OPTIONS] = "nosniff"
    if error.retry_after_s:
        headers[hdrs.RETRY_AFTER] = str(error.retry_after_s)
    response = web.Response(status=error.code, body=body, headers=headers)
    return _with_warnings(response, call)


def _with_warnings(response: R, call: Call) -> R:
    """Add what the call says in headers: of its flow, of its audit events, and warnings."""
    response.headers.update(call.headers)
    if call.audit_id:
        response.headers[AUDIT_ID] = call.audit_id
    for text in dict.fromkeys(call.warnings):
        # RFC 9111 section 5.5: a quoted string on one line. It may repeat what the client sent.
        plain = "".join(each for each in " ".join(text.split()) if each.isprintable())
        quoted = plain.replace("\\", "\\\\").replace('"', '\\"')
        response.headers.add(hdrs.WARNING, f'299 - "{quoted}"')
    return response


def _audit_id(asked: str) -> str:
    """Return what a request is known by: what its client calls it, if that is short and plain, or something new."""
    return asked if 0 < len(asked) <= AUDIT_ID_MAX and asked.isprintable() and asked.isascii() else str(uuid.uuid4())


async def _stream(request: web.BaseRequest, call: Call, stream: ByteStream) -> web.StreamResponse:
    response = _with_warnings(web.StreamResponse(headers={hdrs.CONTENT_TYPE: stream.content_type}), call)
    try:
        await response.prepare(request)
        await response.write(b"")  # sends the headers now: a follower may wait long for the first line
        async for chunk in stream.chunks:
            await response.write(chunk)
        await response.write_eof()
    finally:
        await stream.close()
    return response


async def _document(request: web.BaseRequest, call: Call, document: Document) -> web.Response:
    is_object = document.content_type == "application/json" and request.path.startswith("/api")
    accept = request.headers.get(hdrs.ACCEPT, "")
    if request.path.startswith("/version") and not table.takes_json(accept):
        raise NotAcceptable("406: Not Acceptable")
    rendering = table.negotiate(accept, has_forms=False) if is_object else table.PLAIN
    message = in_protobuf.document_body(document.body) if rendering.is_protobuf else None
    if message is not None:
        document = replace(document, body=message, content_type=protobuf.MEDIA)
    is_yaml = rendering.is_yaml
    content_type = "application/yaml" if is_yaml else document.content_type
    headers = {hdrs.CONTENT_TYPE: content_type, hdrs.CACHE_CONTROL: "no-cache, private", **document.headers}
    if document.etag:
        quoted = f'"{document.etag}"'
        headers[hdrs.ETAG] = quoted
        if document.location:
            headers[hdrs.LOCATION] = document.location
            return _with_warnings(web.Response(status=301, headers=headers), call)
        if quoted in request.headers.get(hdrs.IF_NONE_MATCH, ""):
            return _with_warnings(web.Response(status=304, headers=headers), call)
    body = document.body
    if document.content_type.startswith("application/json"):
        is_pretty = answers.wants_pretty(request) if is_object else request.path in _ALWAYS_PRETTY
        body = await answers.styled(body, answers.Form(table.PLAIN, is_yaml, is_pretty))
    body = await answers.compressed(request, body, headers)
    return _with_warnings(web.Response(body=body, headers=headers), call)
