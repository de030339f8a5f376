"""Objects of a custom kind from one version to another, by asking a webhook (ConversionReview).

Without a webhook (strategy None) only apiVersion changes, which needs nothing from here. A webhook may change all of
an object but its name, namespace, uid and kind; a converter that changes those, or answers anything but what it was
asked for, fails the request, and so does one that cannot be reached.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from api.apiextensions.customresourcedefinition import WebhookClientConfig, WebhookConversion
from api.errors import ApiError, InternalError
from apiserver.webhooks.client import CallFailed, WebhookClient

TIMEOUT_S: Final = 30.0
ANSWER_BYTES_MAX: Final = 64 * 1024 * 1024
_VERSIONS: Final = ("v1", "v1beta1")

Plain = dict[str, Any]


class Converter:
    """Asks one definition's webhook."""

    def __init__(self, kind: str, webhook: WebhookConversion, client: WebhookClient) -> None:
        assert webhook.client_config is not None
        self._kind = kind
        self._config: WebhookClientConfig = webhook.client_config
        self._client = client
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
        try:
            answer = await self._client.ask(
                self._config, msgspec.json.encode(review), timeout_s=TIMEOUT_S, answer_bytes_max=ANSWER_BYTES_MAX
            )
        except CallFailed as failed:
            raise _Failed(str(failed)) from None
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
