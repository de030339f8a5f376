"""A few REST calls to an API server, for a newcomer that has a token or nothing yet.

Our own processes speak gRPC, which admits only certificates; a bootstrap token is shown by REST.
"""

from __future__ import annotations

import json
import ssl
import urllib.error
import urllib.request
from typing import Any

from deploy.health import direct
from deploy.report import CannotDo

TIMEOUT_S = 15.0
ANSWER_BYTES_MAX = 4 << 20


class Refused(CannotDo):
    """The API server answered that it will not; `code` is the HTTP status."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


class NoAnswer(CannotDo):
    """Nobody took the connection, or it broke: it may well be different in a moment."""


class Rest:
    """Calls to one API server.

    Args:
        url: its URL, such as https://10.0.0.1:6443.
        context: whom to believe, and the certificate shown.
        token: shown as bearer token if given.
    """

    def __init__(self, url: str, context: ssl.SSLContext, token: str = "") -> None:
        self._url = url
        # Never by a proxy that the environment names: it would see the token's use, and reach nothing in our network.
        self._open = direct(context).open
        self._token = token

    def get(self, path: str) -> dict[str, Any]:
        """Return the object at `path`; raises Refused, NoAnswer, CannotDo."""
        return self._call("GET", path, None)

    def create(self, path: str, body: bytes) -> dict[str, Any]:
        """Create an object in the collection at `path`; raises Refused, NoAnswer, CannotDo."""
        return self._call("POST", path, body)

    def _call(self, method: str, path: str, body: bytes | None) -> dict[str, Any]:
        headers = {"Accept": "application/json"}
        if body is not None:
            headers["Content-Type"] = "application/json"
        if self._token:
            headers["Authorization"] = f"Bearer {self._token}"
        request = urllib.request.Request(self._url + path, data=body, headers=headers, method=method)
        try:
            with self._open(request, timeout=TIMEOUT_S) as response:
                answer = json.loads(response.read(ANSWER_BYTES_MAX))
        except urllib.error.HTTPError as error:
            raise Refused(error.code, f"{self._url} refused: {_message(error)}") from None
        except (OSError, ValueError) as error:
            reason = getattr(error, "reason", None) or error
            kind = NoAnswer if isinstance(reason, OSError) and not isinstance(reason, ssl.SSLError) else CannotDo
            raise kind(f"{self._url} does not answer: {reason}") from None
        if not isinstance(answer, dict):
            raise CannotDo(f"{self._url} is no API server: it answered with {type(answer).__name__}")
        return answer


def _message(error: urllib.error.HTTPError) -> str:
    try:
        return str(json.loads(error.read(1 << 16))["message"])
    except (ValueError, KeyError, TypeError, OSError):
        return f"HTTP {error.code}"
