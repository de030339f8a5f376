"""Sends requests one after another, and has every answer judged: at once, by the log, and by reading back."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections import Counter
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote

from tests.fuzz import oracle
from tests.fuzz.arena import Arena
from tests.fuzz.objects import Plain
from tests.fuzz.wire import Request, Response

CARED_FOR: Final = ("customresourcedefinitions", "apiservices", "flowschemas", "validatingadmissionpolicies",
                    "prioritylevelconfigurations", "endpoints", "endpointslices", "services")  # fmt: skip
"""Kinds that loops of the server also write."""
_OBJECT: Final = re.compile(r"/(?:api/v1|apis/[^/]+/[^/]+)(?:/namespaces/[^/]+)?/([a-z]+)(/[^/?]+)?")
_PLACES: Final = re.compile(r"0x[0-9a-f]+|[0-9]+")


@dataclass(frozen=True, slots=True)
class Failure:
    """Something that must not happen."""

    signature: str
    """The same for what is probably the same bug."""
    text: str
    requests: tuple[Request, ...]
    """Everything that was sent up to it."""


class Session:
    """One client of one server."""

    def __init__(self, arena: Arena, tally: Counter[str]) -> None:
        self.arena = arena
        self.tally = tally
        """Requests by kind of fuzz, and answers by their class."""
        self.failures: dict[str, Failure] = {}
        self.sent: list[Request] = []
        self._connection = arena.connect()
        self._last: dict[str, tuple[int, Plain]] = {}

    async def begin(self) -> None:
        """Make a namespace to work in."""
        for path, kind in (
            ("/api/v1/namespaces", "Namespace"),
            ("/api/v1/namespaces/fuzz/serviceaccounts", "ServiceAccount"),
        ):
            name = "fuzz" if kind == "Namespace" else "default"
            body = {"apiVersion": "v1", "kind": kind, "metadata": {"name": name}}
            await self._ask(Request("POST", path, json.dumps(body).encode()))

    def close(self) -> None:
        """Hang up."""
        self._connection.close()

    async def send(self, request: Request, kind: str) -> Response:
        """Send a request, judge the answer, and what it left behind."""
        self.tally[kind] += 1
        self.sent.append(request)
        response = await self._ask(request)
        self.tally[f"answers {response.status // 100}xx"] += 1
        self._note(oracle.judge(request, response), request)
        if response.status in (200, 201) and "Accept" not in request.headers and not request.raw:
            match = _OBJECT.fullmatch(request.target.partition("?")[0])
            if match is not None and (request.method == "POST") != bool(match[2]):
                await self._read_back(request, response, match[1])
        return response

    async def get(self, path: str) -> Plain | None:
        """Return an object, if it is there."""
        response = await self._ask(Request("GET", path))
        return response.value if response.status == 200 else None

    def note(self, problem: str | None, request: Request) -> None:
        """Keep what a check of the caller's found."""
        self._note(problem, request)

    async def _ask(self, request: Request) -> Response:
        begun, used = time.monotonic(), time.process_time()
        response = Response(0)
        try:
            async with asyncio.timeout(oracle.HUNG_S):
                response = await self._connection.ask(request)
        except TimeoutError:
            self._connection.close()
            self._note(f"hang: no answer within {oracle.HUNG_S:.0f} s", request)
        took, busy = time.monotonic() - begun, time.process_time() - used
        if oracle.SLOW_S < took < oracle.HUNG_S and busy > oracle.SLOW_S / 2:
            self._note(f"slow: {took:.1f} s, {busy:.1f} s of them working", request)
        self.take_log(request)
        return response

    def take_log(self, request: Request) -> None:
        """Judge what the log told of, as if `request` were at fault; raises RuntimeError when the server has ended."""
        for told in self.arena.log.take():
            place = [line.strip() for line in told.splitlines() if line.strip().startswith("File ")]
            self._note(f"log: {told.splitlines()[-1]} {place[-1] if place else ''}\n{told}", request)
        if self.arena.task.done():
            raise RuntimeError("the server has ended")

    async def _read_back(self, request: Request, response: Response, plural: str) -> None:
        path, _, query = request.target.partition("?")
        value: Any = response.value
        is_object = (
            isinstance(value, dict) and isinstance(value.get("metadata"), dict) and value["metadata"].get("name")
        )
        if (
            not is_object
            or plural.endswith("reviews")
            or plural == "bindings"
            or not value["metadata"].get("resourceVersion")
            or "=All" in query
            or "pretty" in query
        ):
            return
        metadata = value["metadata"]
        if request.method == "POST":
            path = f"{path}/{quote(metadata['name'], safe='')}"
        read = await self._ask(Request("GET", path))
        if request.method == "DELETE":
            after = read.value["metadata"] if read.status == 200 and b'"dryRun"' not in request.body else {}
            if after.get("uid") == metadata.get("uid") and after and not after.get("deletionTimestamp"):
                self._note("not-deleted: it is still there as if nothing had happened", request)
            return
        if read.status == 404 and metadata.get("deletionTimestamp") and not metadata.get("finalizers"):
            return
        if read.status != 200:
            self._note(f"not-there: {plural}: {read.status} {read.body[:200]!r}", request)
            return
        self._note(self._check_revision(path, read.value), request)
        if plural not in CARED_FOR:
            self._note(oracle.same(response.body, read.body), request)
        self._note(oracle.stored(read.value), request)
        again = await self._ask(
            Request("PUT", f"{path}?dryRun=All&fieldManager=again", read.body, {"Content-Type": "application/json"})
        )
        is_left = plural not in CARED_FOR and "spec.finalizers" not in again.body.decode()
        if again.status != 200 and is_left and again.status != 409:
            self._note(f"not-writable: {plural}: {again.body[:400]!r}", request)
        elif again.status == 200 and is_left and again.body != read.body:
            self._note(f"put-changes: {plural}: {oracle.same(read.body, again.body)}", request)

    def _check_revision(self, path: str, value: Plain) -> str | None:
        """Return what is wrong with an object's resourceVersion, given what was last read of it."""
        revision = int(value["metadata"]["resourceVersion"])
        last = self._last.get(path)
        self._last[path] = (revision, value)
        if last is None or last[1]["metadata"]["uid"] != value["metadata"]["uid"]:
            return None
        if revision < last[0]:
            return f"revision: it went back from {last[0]} to {revision}"
        return "revision: it changed without a new one" if revision == last[0] and value != last[1] else None

    def _note(self, problem: str | None, request: Request) -> None:
        if problem is None:
            return
        signature = _PLACES.sub("N", re.sub(r'b?"[^"]*"|\'[^\']*\'', "Q", problem.split("\n")[0]))[:160]
        if signature not in self.failures:
            self.failures[signature] = Failure(signature, f"{problem}\n    at {request}", tuple(self.sent))
