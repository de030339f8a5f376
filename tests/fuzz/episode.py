"""One episode: some hundred requests drawn from a seed, and what was to be heard of them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from random import Random
from typing import Any, Final
from urllib.parse import quote

from api.discover import RESOURCES
from api.resource import Resource
from tests.fuzz import expressions, hostile, objects, other_ways, patches, schemas
from tests.fuzz.objects import Plain
from tests.fuzz.session import Session
from tests.fuzz.watching import Held, History
from tests.fuzz.wire import Request, Response

JSON: Final = {"Content-Type": "application/json"}
TABLE: Final = "application/json;as=Table;v=v1;g=meta.k8s.io"
_WATCHES_MAX: Final = 12
_OPTIONS: Final = (
    "",
    "",
    "",
    "",
    "dryRun=All",
    "fieldValidation=Strict",
    "fieldValidation=Ignore",
    "fieldManager=other",
)


@dataclass
class Known:
    """An object that was there when last seen."""

    path: str
    resource: Resource[Any] | None
    seed: Plain


@dataclass
class Custom:
    """A custom kind that is served."""

    path: str
    kind: str
    version: str
    schema: Plain


class Episode:
    """Draws requests and sends them."""

    def __init__(self, session: Session, random: Random) -> None:
        self._session = session
        self._random = random
        self._known: list[Known] = []
        self._custom: list[Custom] = []
        self._held: list[Held] = []
        self._history = History(session.arena.store)
        self._number = 0
        self._ways: tuple[tuple[int, Callable[[], Awaitable[None]]], ...] = (
            (26, self._create),
            (14, self._update),
            (26, self._patch),
            (5, self._status),
            (7, self._delete),
            (1, self._delete_many),
            (9, self._list),
            (4, self._watch),
            (3, self._define),
            (9, self._create_custom),
            (10, self._protobuf),
            (16, self._hostile),
            (6, self._read_otherwise),
            (4, self._write_back),
            (2, self._at_once),
            (3, self._http2),
            (2, self._redefine),
        )

    async def run(self, steps: int, seconds: float | None = None) -> None:
        """Take so many steps, fewer when the time is up, then judge the watches."""
        loop = asyncio.get_running_loop()
        until = loop.time() + seconds if seconds is not None else None
        weights, ways = [weight for weight, _ in self._ways], [way for _, way in self._ways]
        try:
            for _ in range(steps):
                if until is not None and loop.time() > until:
                    break
                await self._random.choices(ways, weights)[0]()
            revision = int((await self._session.arena.store.status()).revision)
            await self._history.reach(revision)
            for held in self._held:
                self._session.note(await held.judge(self._history), held.request)
        finally:
            for held in self._held:
                held.close()
            await self._history.close()

    def _name(self) -> str:
        self._number += 1
        return f"f{self._number}"

    def _query(self) -> str:
        chosen = self._random.choice(_OPTIONS)
        return f"?{chosen}" if chosen else ""

    def _pick(self) -> Known | None:
        return self._random.choice(self._known) if self._known else None

    async def _create(self) -> None:
        resource, seed = self._random.choice(objects.seeds())
        value = objects.sound(self._random, resource, seed, self._name())
        value = objects.change(self._random, value, resource.type, self._random.choice((0, 0, 1, 1, 2, 4)))
        if resource.kind == "ValidatingAdmissionPolicy":
            self._vary_policy(value)
        if resource.kind == "ValidatingAdmissionPolicyBinding":
            policies = [
                known.path.rpartition("/")[2] for known in self._known if "/validatingadmissionpolicies/" in known.path
            ]
            value["spec"] = {"policyName": (policies or ["p"])[-1], "validationActions": ["Warn", "Audit"]}
        await self._post(path_of(resource), value, resource, seed, "create")

    def _vary_policy(self, value: Plain) -> None:
        """Let a policy judge ConfigMaps, by rules of which nobody knows whether they make sense."""
        rule = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["*"], "resources": ["configmaps"]}
        value["spec"] = {
            "failurePolicy": "Ignore",
            "matchConstraints": {"resourceRules": [rule]},
            "variables": [{"name": "v", "expression": expressions.make(self._random)}],
            "validations": [{"expression": expressions.rule(self._random).replace("self", "object")} for _ in range(3)],
            "auditAnnotations": [{"key": "k", "valueExpression": expressions.make(self._random)}],
        }
        value["spec"]["matchConditions"] = [{"name": "m", "expression": expressions.rule(self._random)}]
        for part in self._random.sample(("variables", "auditAnnotations", "matchConditions"), 2):
            del value["spec"][part]

    async def _post(self, path: str, value: Plain, resource: Resource[Any] | None, seed: Plain, kind: str) -> None:
        query = self._query()
        response = await self._session.send(Request("POST", path + query, _encoded(value), JSON), kind)
        if response.status == 201 and "dryRun" not in query:
            metadata = (response.value or {}).get("metadata")
            if metadata and metadata.get("name"):
                self._known.append(Known(f"{path}/{quote(metadata['name'], safe='')}", resource, seed))

    async def _current(self) -> tuple[Known, Plain] | None:
        known = self._pick()
        current = await self._session.get(known.path) if known is not None else None
        if known is not None and current is None:
            self._known.remove(known)
        return (known, current) if known is not None and current is not None else None

    async def _update(self) -> None:
        found = await self._current()
        if found is None:
            return await self._create()
        known, value = found
        if self._random.random() < 0.3:
            value["metadata"].pop("resourceVersion")
        if known.resource is not None:
            value = objects.change(self._random, value, known.resource.type, self._random.choice((0, 1, 1, 2)))
        else:
            self._vary_custom(known, value)
        await self._session.send(Request("PUT", known.path + self._query(), _encoded(value), JSON), "update")
        return None

    async def _patch(self) -> None:
        found = await self._current()
        if found is None:
            return await self._create()
        known, current = found
        media, body = patches.make(self._random, known.resource, known.seed, current)
        query = "?fieldManager=" + self._random.choice("mn") if media == patches.APPLY else self._query()
        if media == patches.APPLY and self._random.random() < 0.5:
            query += "&force=true"
        sub = self._random.choice(("", "", "", "", "", "/status", "/scale"))
        await self._session.send(
            Request("PATCH", known.path + sub + query, body, {"Content-Type": media}), f"patch {media.split('/')[1]}"
        )
        return None

    async def _status(self) -> None:
        found = await self._current()
        if found is None:
            return
        known, value = found
        if known.resource is not None:
            declared = objects.fields_of(known.resource.type).get("status")
            if declared is not None:
                value["status"] = objects.of_field(self._random, declared)
        sub = self._random.choice(known.resource.subresources or ("status",)) if known.resource else "status"
        if sub in ("exec", "attach", "portforward", "proxy", "log"):
            sub = "status"
        if sub == "scale":
            value = {
                "kind": "Scale",
                "apiVersion": "autoscaling/v1",
                "metadata": {"name": value["metadata"]["name"]},
                "spec": {"replicas": self._random.choice(objects.NUMBERS)},
            }
        method = "POST" if sub in ("binding", "eviction", "token") else "PUT"
        await self._session.send(Request(method, f"{known.path}/{sub}", _encoded(value), JSON), "subresource")

    async def _delete(self) -> None:
        known = self._pick()
        if known is None:
            return
        options: Plain = {}
        for name, values in (
            ("gracePeriodSeconds", (0, 1, 30, -1)),
            ("propagationPolicy", ("Foreground", "Background", "Orphan", "x")),
            ("preconditions", ({"uid": "x"}, {"resourceVersion": "1"}, {})),
            ("dryRun", (["All"], ["x"], "All")),
            ("orphanDependents", (True, False)),
        ):
            if self._random.random() < 0.2:
                options[name] = self._random.choice(values)
        body = (
            _encoded({"kind": "DeleteOptions", "apiVersion": "v1", **options}) if self._random.random() < 0.7 else b""
        )
        await self._session.send(Request("DELETE", known.path, body, JSON), "delete")

    async def _delete_many(self) -> None:
        known = self._pick()
        if known is not None:
            path = known.path.rpartition("/")[0]
            selector = quote(self._random.choice(("app=x", "app in (x,y)", "!app", "app!=x")))
            if "namespaces/fuzz/" in path:
                await self._session.send(Request("DELETE", f"{path}?labelSelector={selector}"), "delete")

    async def _list(self) -> None:
        resource = self._random.choice(
            [each for each in RESOURCES if "list" in each.verbs and each.plural != "componentstatuses"]
        )
        path = path_of(resource, everywhere=self._random.random() < 0.3)
        whole = await self._session.send(Request("GET", path), "list")
        if whole.status != 200:
            return self._session.note(f"list: {whole.status} {whole.body[:200]!r}", Request("GET", path))
        items = whole.value.get("items") or []
        wanted = self._random.choice("xyz")
        key = self._random.choice(("app", "tier", "a"))
        for selector, holds in (
            (f"{key}={wanted}", lambda labels: labels.get(key) == wanted),
            (f"{key}!={wanted}", lambda labels: labels.get(key) != wanted),
            (f"{key} in ({wanted},x)", lambda labels: labels.get(key) in (wanted, "x")),
            (f"{key} notin ({wanted}),{key}", lambda labels: key in labels and labels[key] != wanted),
            (f"!{key}", lambda labels: key not in labels),
        ):
            request = Request("GET", f"{path}?labelSelector={quote(selector)}")
            if self._random.random() < 0.5:
                listed = (await self._session.send(request, "list")).value
                wanted_names = [_name_of(item) for item in items if holds(item["metadata"].get("labels", {}))]
                await self._compare(_names(listed), wanted_names, request, whole)
        limit, token, paged = self._random.choice((1, 2, 5, 500)), "", []
        for _ in range(60):
            request = Request("GET", f"{path}?limit={limit}&continue={token}")
            page = (await self._session.send(request, "list")).value
            paged += _names(page)
            token = page.get("metadata", {}).get("continue", "")
            if not token:
                await self._compare(paged, _names(whole.value), request, whole)
                break
        request = Request("GET", path, headers={"Accept": TABLE})
        rows = (await self._session.send(request, "table")).value.get("rows") or []
        await self._compare([_name_of(row["object"]) for row in rows], _names(whole.value), request, whole)
        return None

    async def _compare(self, found: list[str], wanted: list[str], request: Request, whole: Response) -> None:
        if found == wanted:
            return
        # The server writes by itself, too: an APIService for each group of a definition that is taken in.
        path = request.target.partition("?")[0]
        now = (await self._session.send(Request("GET", path), "list")).value
        if _names(now) == _names(whole.value):
            self._session.note(f"list-differs: {found[:8]} instead of {wanted[:8]}", request)

    async def _watch(self) -> None:
        if len(self._held) >= _WATCHES_MAX:
            return None
        resource = self._random.choice(
            [each for each, _ in objects.seeds() if "watch" in each.verbs and each.storage is None]
        )
        store, session = self._session.arena.store, self._session
        now = int((await store.status()).revision)
        since = None if self._random.random() < 0.4 else self._random.randint(max(now - 60, 1), now)
        label = (
            (self._random.choice(("app", "tier")), self._random.choice("xyz")) if self._random.random() < 0.5 else None
        )
        is_everywhere = self._random.random() < 0.5 or not resource.namespaced
        query = "watch=1&allowWatchBookmarks=true&timeoutSeconds=600"
        if since is not None:
            query += f"&resourceVersion={since}"
        elif self._random.random() < 0.4:
            query += "&sendInitialEvents=true&resourceVersionMatch=NotOlderThan"
        if label is not None:
            query += f"&labelSelector={label[0]}%3D{label[1]}"
        request = Request("GET", f"{path_of(resource, everywhere=is_everywhere)}?{query}")
        connection = session.arena.connect()
        session.tally["watch"] += 1
        session.sent.append(request)
        async with asyncio.timeout(20):
            response, chunks = await connection.stream(request)
        if response.status == 410 and since is not None:
            return connection.close()
        if response.status != 200:
            connection.close()
            return session.note(f"watch: {response.status} {response.body[:200]!r}", request)
        held = Held(resource, "" if is_everywhere else "fuzz", label, since, now, request, connection)
        held.follow(chunks)
        self._held.append(held)
        return None

    async def _define(self) -> None:
        if len(self._custom) > 6:
            return
        plural = f"things{chr(97 + len(self._custom))}{self._name()}s"
        made = schemas.definition(self._random, plural)
        path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
        request = Request("POST", path, _encoded(made), JSON)
        response = await self._session.send(request, "definition")
        if response.status != 201:
            return
        for version in response.value["spec"]["versions"]:
            served = f"/apis/{schemas.GROUP}/{version['name']}/namespaces/fuzz/{plural}"
            await self._wait_served(served, request)
            schema = version["schema"]["openAPIV3Schema"]
            self._custom.append(Custom(served, plural.capitalize(), version["name"], schema))
        for document in ("/openapi/v2", f"/openapi/v3/apis/{schemas.GROUP}/v1", f"/apis/{schemas.GROUP}/v1"):
            await self._session.send(Request("GET", document), "document")

    async def _wait_served(self, path: str, request: Request) -> None:
        for _ in range(500):
            if await self._session.get(path) is not None:
                return
            await asyncio.sleep(0.01)
        self._session.note("never-served: a definition that was taken", request)

    async def _create_custom(self) -> None:
        if not self._custom:
            return await self._define()
        custom = self._random.choice(self._custom)
        value = schemas.value(self._random, custom.schema)
        value = value if isinstance(value, dict) else {"spec": value}
        value |= {
            "apiVersion": f"{schemas.GROUP}/{custom.version}",
            "kind": custom.kind,
            "metadata": {"name": self._name()},
        }
        await self._post(custom.path, value, None, value, "custom")
        if self._random.random() < 0.2:
            await self._session.send(Request("GET", custom.path, headers={"Accept": TABLE}), "table")
        return None

    def _vary_custom(self, known: Known, value: Plain) -> None:
        custom = next((each for each in self._custom if known.path.startswith(f"{each.path}/")), None)
        if custom is not None:
            again = schemas.value(self._random, custom.schema)
            if isinstance(again, dict):
                value.update({key: again[key] for key in again if key not in ("apiVersion", "kind", "metadata")})

    async def _protobuf(self) -> None:
        resource, seed = self._random.choice(objects.seeds())
        value = objects.sound(self._random, resource, seed, self._name())
        if self._random.random() < 0.3:
            value = objects.change(self._random, value, resource.type, 1)
        body = hostile.protobuf_body(self._random, resource, value)
        headers = {"Content-Type": "application/vnd.kubernetes.protobuf"}
        await self._session.send(Request("POST", path_of(resource), body, headers), "protobuf")

    async def _read_otherwise(self) -> None:
        known = self._pick()
        if known is not None:
            await other_ways.read_otherwise(self._session, self._random, known.path, known.resource)

    async def _write_back(self) -> None:
        known = self._pick()
        if known is not None and known.resource is not None:
            await other_ways.write_back(self._session, known.path, known.resource)

    async def _at_once(self) -> None:
        found = await self._current()
        if found is None:
            return
        known, value = found
        requests = []
        for _ in range(self._random.choice((2, 4, 8))):
            media, body = patches.make(self._random, known.resource, known.seed, value)
            query = "?force=true&fieldManager=" + self._random.choice("mn") if media == patches.APPLY else ""
            requests.append(Request("PATCH", known.path + query, body, {"Content-Type": media}))
        requests.append(Request("GET", known.path))
        if self._random.random() < 0.3:
            requests.append(Request("DELETE", known.path))
        if self._random.random() < 0.3:
            requests.append(Request("PUT", known.path, _encoded(value), JSON))
        await other_ways.at_once(self._session, self._session.arena, self._random, requests)

    async def _http2(self) -> None:
        paths = [each.path for each in self._known[-5:]]
        await other_ways.speak_http2(self._session, self._session.arena, self._random, paths)

    async def _redefine(self) -> None:
        """Change a definition whose objects are there, or delete it; what is there must stay readable or go."""
        if not self._custom:
            return
        custom = self._random.choice(self._custom)
        name = f"{custom.path.rpartition('/')[2]}.{schemas.GROUP}"
        path = f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{name}"
        if self._random.random() < 0.15:
            await self._session.send(Request("DELETE", path), "redefine")
            self._custom = [each for each in self._custom if not each.path.endswith(custom.path.rpartition("/")[2])]
            return
        definition = await self._session.get(path)
        if definition is None:
            return
        versions = definition["spec"]["versions"]
        chosen = self._random.choice(versions)
        for change in self._random.sample(("schema", "served", "storage", "conversion", "columns"), 2):
            match change:
                case "schema":
                    made = schemas.schema(self._random)
                    chosen["schema"]["openAPIV3Schema"] = {"type": "object", "properties": {"spec": made}}
                case "served":
                    chosen["served"] = not chosen["served"]
                case "storage":
                    for each in versions:
                        each["storage"] = each is chosen
                case "conversion":
                    url = "https://127.0.0.1:1/convert"
                    webhook = {"conversionReviewVersions": ["v1"], "clientConfig": {"url": url}}
                    given = ({"strategy": "None"}, {"strategy": "Webhook", "webhook": webhook})
                    definition["spec"]["conversion"] = self._random.choice(given)
                case "columns":
                    chosen["additionalPrinterColumns"] = [{"name": "a", "type": "string", "jsonPath": ".spec"}]
        response = await self._session.send(Request("PUT", path, _encoded(definition), JSON), "redefine")
        if response.status != 200:
            return
        for each in self._custom:
            if each.path.endswith(custom.path.rpartition("/")[2]):
                version = next((one for one in versions if one["name"] == each.version), None)
                each.schema = version["schema"]["openAPIV3Schema"] if version is not None else each.schema
        await asyncio.sleep(0.02)
        converts = (definition["spec"].get("conversion") or {}).get("strategy") == "Webhook"
        for form in () if converts else ("application/json", TABLE):
            await self._session.send(Request("GET", custom.path, headers={"Accept": form}), "redefine")

    async def _hostile(self) -> None:
        known = [each.path for each in self._known[-5:]]
        request = hostile.request(self._random, known)
        if self._random.random() < 0.25:
            resource, seed = self._random.choice(objects.seeds())
            body = hostile.garbled(self._random, _encoded(objects.sound(self._random, resource, seed, self._name())))
            request = Request("POST", path_of(resource), body, {"Content-Type": self._random.choice(hostile.TEXTS)})
        if "watch" in request.target or "follow" in request.target:
            request = Request(request.method, request.target, request.body, {**request.headers, "Connection": "close"})
        await self._session.send(request, "hostile")


def path_of(resource: Resource[Any], *, everywhere: bool = False) -> str:
    """Return the path of a kind's objects in the namespace that is worked in, or in all."""
    root = f"/apis/{resource.api_version}" if resource.group else "/api/v1"
    place = "/namespaces/fuzz" if resource.namespaced and not everywhere else ""
    return f"{root}{place}/{resource.plural}"


def _encoded(value: Any) -> bytes:
    return json.dumps(value).encode()


def _name_of(item: Plain) -> str:
    metadata = item["metadata"]
    return f"{metadata.get('namespace', '')}/{metadata['name']}"


def _names(listed: Plain | None) -> list[str]:
    return [_name_of(item) for item in (listed or {}).get("items") or []]
