"""Objects of a custom kind from one version to another, by asking a webhook (ConversionReview).

Without a webhook (strategy None) only apiVersion changes, which needs nothing from here. A webhook may change all of
an object but its name, namespace, uid and kind; a converter that changes those, or answers anything but what it was
asked for, fails the request, and so does one that cannot be reached.
"""

from __future__ import annotations

import socket
import ssl
import uuid
from collections.abc import Sequence
from typing import Any, Final, Protocol

import aiohttp
import msgspec

from api.apiextensions.customresourcedefinition import WebhookClientConfig, WebhookConversion
from api.errors import ApiError, InternalError

TIMEOUT_S: Final = 30.0
ANSWER_BYTES_MAX: Final = 64 * 1024 * 1024
_VERSIONS: Final = ("v1", "v1beta1")

Plain = dict[str, Any]


class Locate(Protocol):
    """Says where a Service is reached from here."""

    def __call__(self, namespace: str, name: str, port: int) -> tuple[str, int] | None: ...


class Converter:
    """Asks one definition's webhook."""

    def __init__(self, kind: str, webhook: WebhookConversion, locate: Locate) -> None:
        assert webhook.client_config is not None
        self._kind = kind
        self._config: WebhookClientConfig = webhook.client_config
        self._locate = locate
        self._version = next((one for one in webhook.conversion_review_versions if one in _VERSIONS), "")

    async def convert(self, objects: Sequence[Plain], wanted: str) -> list[Plain | ApiError]:
        """Return each object in the version `wanted`, or for all of them the reason why not."""
        if not objects:
            return []
        try:
            converted = await self._ask(objects, wanted)
            return [_checked(before, after, wanted) for before, after in zip(objects, converted, strict=True)]
        except _Failed as failed:
            error = InternalError(
                f"conversion webhook for {objects[0].get('apiVersion')}, Kind={self._kind} failed: {failed}"
            )
            return [error] * len(objects)

    async def _ask(self, objects: Sequence[Plain], wanted: str) -> list[Any]:
        if not self._version:
            raise _Failed("it takes no version of ConversionReview that this server speaks (v1, v1beta1)")
        asked = str(uuid.uuid4())
        review = {
            "kind": "ConversionReview",
            "apiVersion": f"apiextensions.k8s.io/{self._version}",
            "request": {"uid": asked, "desiredAPIVersion": wanted, "objects": list(objects)},
        }
        answer = await self._post(msgspec.json.encode(review))
        try:
            response = msgspec.json.decode(answer, type=dict[str, Any]).get("response")
        except msgspec.DecodeError as error:
            raise _Failed(f"its answer is not JSON: {error}") from None
        if not isinstance(response, dict):
            raise _Failed("its answer has no response")
        if response.get("uid") != asked:
            raise _Failed(f"expected response.uid={asked!r}, got {response.get('uid')!r}")
        result = response.get("result") or {}
        if result.get("status") != "Success":
            raise _Failed(result.get("message") or "it gave no reason")
        converted = response.get("convertedObjects")
        if not isinstance(converted, list) or len(converted) != len(objects):
            count = len(converted) if isinstance(converted, list) else 0
            raise _Failed(f"expected {len(objects)} converted objects, got {count}")
        return converted

    async def _post(self, body: bytes) -> bytes:
        url, context, name, address = self._target()
        connector = aiohttp.TCPConnector(ssl=context, resolver=_Fixed(address) if address else None, force_close=True)
        timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
        try:
            async with (
                aiohttp.ClientSession(connector=connector, timeout=timeout) as session,
                session.post(
                    url,
                    data=body,
                    headers={"Content-Type": "application/json", "Accept": "application/json"},
                    server_hostname=name or None,
                    allow_redirects=False,
                ) as response,
            ):
                answer = await response.content.read(ANSWER_BYTES_MAX)
                if response.status != 200:
                    raise _Failed(f"Post {url!r}: it answered {response.status} {response.reason}")
                return answer
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            raise _Failed(f"Post {url!r}: {error or 'it does not answer'}") from None

    def _target(self) -> tuple[str, ssl.SSLContext, str, tuple[str, int] | None]:
        """Return the URL, what to trust, the name that the certificate must have, and where that name leads."""
        config = self._config
        try:
            context = ssl.create_default_context(cadata=config.ca_bundle.decode() if config.ca_bundle else None)
        except (ssl.SSLError, ValueError) as error:
            raise _Failed(f"its caBundle cannot be read: {error}") from None
        service = config.service
        if service is None:
            return config.url or "", context, "", None
        port = service.port or 443
        address = self._locate(service.namespace, service.name, port)
        if address is None:
            raise _Failed(
                f'service "{service.name}" in namespace "{service.namespace}" has no cluster IP with port {port}'
            )
        name = f"{service.name}.{service.namespace}.svc"
        return f"https://{name}:{address[1]}/{(service.path or '').lstrip('/')}", context, name, address


class _Fixed(aiohttp.abc.AbstractResolver):
    """Resolves any name to one address: a Service's name means nothing to this host."""

    def __init__(self, address: tuple[str, int]) -> None:
        self._address = address

    async def resolve(self, host: str, port: int = 0, family: Any = 0) -> list[Any]:
        family = socket.AF_INET6 if ":" in self._address[0] else socket.AF_INET
        return [{"hostname": host, "host": self._address[0], "port": port, "family": family, "proto": 0, "flags": 0}]

    async def close(self) -> None:
        return


class _Failed(Exception):
    """The webhook did not convert, and why."""


def _checked(before: Plain, after: Any, wanted: str) -> Plain:
    if not isinstance(after, dict) or not isinstance(after.get("metadata"), dict):
        raise _Failed("it returned something that is no object")
    if after.get("apiVersion") != wanted:
        raise _Failed(f"it returned version {after.get('apiVersion')} where {wanted} was asked for")
    if after.get("kind") != before.get("kind"):
        raise _Failed(f"it changed the kind to {after.get('kind')}")
    old, new = before.get("metadata") or {}, after["metadata"]
    for field in ("name", "namespace", "uid"):
        if (new.get(field) or "") != (old.get(field) or ""):
            raise _Failed(f"it changed metadata.{field}, which it may not")
    # Only labels and annotations are a converter's to change.
    kept = {key: value for key, value in old.items() if key not in ("labels", "annotations")}
    changed = {key: new[key] for key in ("labels", "annotations") if new.get(key)}
    return {**after, "metadata": {**kept, **changed}}
