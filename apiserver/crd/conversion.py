"""Objects of a custom kind from one version to another, by asking a webhook (ConversionReview).

Without a webhook (strategy None) only apiVersion changes, which needs nothing from here. A webhook may change all of
an object but its name, namespace, uid and kind; a converter that changes those, or answers anything but what it was
asked for, fails the request, and so does one that cannot be reached.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Sequence
from typing import Any, Final, NoReturn

import msgspec

from api import validation as v
from api.apiextensions.customresourcedefinition import WebhookClientConfig, WebhookConversion
from api.errors import ApiError, InternalError, as_one
from api.go_types import type_of
from apiserver.webhooks.client import CallFailed, WebhookClient

TIMEOUT_S: Final = 30.0
ANSWER_BYTES_MAX: Final = 64 * 1024 * 1024
_VERSIONS: Final = ("v1", "v1beta1")
_REVIEW_V1: Final = "apiextensions.k8s.io/v1"

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
        """Return each object in the version `wanted`, or the reason why not.

        They are sent together; upstream sends each on its own, and there are converters that know nothing else: where
        what comes back does not fit, so does this.
        """
        if not objects:
            return []
        try:
            converted = await self._ask(objects, wanted)
            return [_checked(before, after, wanted) for before, after in zip(objects, converted, strict=True)]
        except _Failed as failed:
            if failed.is_misfit and len(objects) > 1:
                (first,) = await self.convert(objects[:1], wanted)
                if isinstance(first, ApiError):
                    return [first] * len(objects)
                return [first, *[(await self.convert([obj], wanted))[0] for obj in objects[1:]]]
            error = InternalError(f"conversion webhook for {objects[0].get('apiVersion')}, Kind={self._kind} {failed}")
            return [error] * len(objects)

    async def _ask(self, objects: Sequence[Plain], wanted: str) -> list[Any]:
        if not self._version:
            raise _Failed("failed: no supported conversion review versions")
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
            raise _Failed(f"failed: {failed}") from None
        try:
            told = msgspec.json.decode(answer, type=dict[str, Any])
        except msgspec.DecodeError as error:
            raise _Failed(f"failed: its answer is not JSON: {error}") from None
        response = told.get("response")
        if self._version == "v1" and (told.get("apiVersion"), told.get("kind")) != (_REVIEW_V1, "ConversionReview"):
            group, _, version = str(told.get("apiVersion") or "").rpartition("/")
            found = f"{group}/{version}, Kind={told.get('kind') or ''}"
            raise _Failed(f"failed: expected webhook response of {_REVIEW_V1}, Kind=ConversionReview, got {found}")
        if not isinstance(response, dict):
            raise _Failed("failed: no response provided")
        if self._version == "v1" and response.get("uid") != asked:
            # The first version of reviews was not looked at for this, and still is not.
            raise _Failed(f'failed: expected response.uid="{asked}", got "{response.get("uid") or ""}"')
        result = response.get("result") or {}
        if result.get("status") != "Success":
            why = f"response.result.status was '{result.get('status') or ''}', not 'Success'"
            raise _Failed(f"failed: {result.get('message') or why}")
        converted = response.get("convertedObjects") or []
        if not isinstance(converted, list) or len(converted) != len(objects):
            count = len(converted) if isinstance(converted, list) else 0
            raise _Failed(f"returned {count} objects, expected {len(objects)}", is_misfit=True)
        return converted


class _Failed(Exception):
    """The webhook did not convert, and why; with `is_misfit`, what came back is not what was asked for."""

    def __init__(self, why: str, *, is_misfit: bool = False) -> None:
        super().__init__(why)
        self.is_misfit = is_misfit


def _checked(before: Plain, after: Any, wanted: str) -> Plain:
    def fail(why: str) -> NoReturn:
        raise _Failed(f"returned invalid {why}", is_misfit=True)

    if not isinstance(after, dict):
        fail(f"object: it is no object but {json.dumps(after)}")
    if after.get("apiVersion") != wanted:
        found = after.get("apiVersion") or ""
        fail(f"object at index 0: invalid groupVersion (expected {wanted}, received {found})")
    if after.get("kind") != before.get("kind"):
        fail(f"object at index 0: invalid kind (expected {before.get('kind')}, received {after.get('kind') or ''})")
    old, new = before.get("metadata") or {}, after.get("metadata")
    if new is None:
        fail("metadata: missing metadata in converted object")
    if not isinstance(new, dict):
        fail(f"metadata: invalid metadata of type {type_of(new)} in converted object")
    for field, shown in (("name", "name"), ("namespace", "namespace"), ("uid", "UID")):
        if (new.get(field) or "") != (old.get(field) or ""):
            fail(f"object: must have the same {shown}: {old.get(field) or ''} != {new.get(field) or ''}")
    # Only labels and annotations are a converter's to change.
    kept = {key: value for key, value in old.items() if key not in ("labels", "annotations")}
    changed = {key: new[key] for key in ("labels", "annotations") if new.get(key) is not None}
    for key, given in changed.items():
        if not isinstance(given, dict):
            fail(f"metadata: invalid metadata.{key} of type {type_of(given)} in converted object")
        for name, value in given.items():
            if not isinstance(value, str):
                fail(f"metadata: metadata.{key}[{name}] must be a string, but is {type_of(value)} in converted object")
        if given != (old.get(key) or {}):
            check = (
                v.check_labels("metadata.labels", given)
                if key == "labels"
                else v.check_annotations("metadata.annotation", given)
            )
            if faults := [f"{fault.path}: {fault.message}" for fault in check]:
                fail(f"metadata: {as_one(faults)}")
    return {**after, "metadata": {**kept, **{key: value for key, value in changed.items() if value}}}
