"""From what flags or the file of `--authorization-config` say to those who are asked; the file is followed.

What it says holds at once, if it makes sense and webhooks alone have come or gone: who else is asked is settled at the
start, as upstream has it. Of webhooks that are told nothing new, answers and connections are kept.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

from apiserver.auth.authorization import WEBHOOK, BadConfiguration, Flags, Mode, Webhook, of_flags, parse
from apiserver.auth.authorization_metrics import AuthorizationMetrics
from apiserver.auth.authorizers import AlwaysAllow, AlwaysDeny, Authorizers, Step
from apiserver.auth.webhook_authorizer import WebhookAuthorizer
from apiserver.request import Authorizer
from apiserver.webhooks.client import WebhookClient
from apiserver.webhooks.identities import BadIdentities, parse_server
from apiserver.webhooks.services import no_services
from component.certificates import LOOK_EVERY_S
from component.clock import Clock

log = logging.getLogger(__name__)
DEFAULT_MODES = ("Node", "RBAC")


class Authorizing:
    """Who is asked; `build` makes them, `follow` must be running where there is a file."""

    def __init__(
        self, modes: Sequence[Mode], clock: Clock, *, path: Path | None = None, read: bytes = b"", server_id: str = ""
    ) -> None:
        self._modes = tuple(modes)
        self._clock = clock
        self._path = path
        self._read = read
        self._id_hash = "sha256:" + hashlib.sha256(server_id.encode()).hexdigest() if server_id else ""
        self._required = frozenset(mode.type for mode in modes if mode.type != WEBHOOK)
        self._webhooks: dict[Mode, WebhookAuthorizer] = {}
        self._retired: list[WebhookAuthorizer] = []
        """Those that are not asked any more; some may still be answering."""
        self._own: Mapping[str, Authorizer] = {}
        self._metrics = AuthorizationMetrics()
        self._authorizers = Authorizers()

    @property
    def allows_everything(self) -> bool:
        """Whether all who are believed may do anything."""
        return "AlwaysAllow" in self._required

    @classmethod
    def by_flags(cls, flags: Flags, clock: Clock) -> Authorizing:
        """Take what flags say; raises BadConfiguration."""
        return cls(of_flags(flags), clock)

    @classmethod
    def by_file(cls, path: Path, clock: Clock, server_id: str = "") -> Authorizing:
        """Read the file, which `follow` will look at.

        Raises:
            BadConfiguration: it cannot be used. OSError: it cannot be read.
        """
        read = path.read_bytes()
        try:
            return cls(parse(read), clock, path=path, read=read, server_id=server_id)
        except BadConfiguration as error:
            raise BadConfiguration(f"--authorization-config {path}: {error}") from None

    def build(self, own: Mapping[str, Authorizer], metrics: AuthorizationMetrics) -> Authorizers:
        """Return those who are asked, as one.

        Args:
            own: who answers from this server's own objects, by type: Node, RBAC.
            metrics: what they count.

        Raises:
            BadConfiguration: a webhook's kubeconfig cannot be used.
        """
        self._own = {"AlwaysAllow": AlwaysAllow(), "AlwaysDeny": AlwaysDeny(), **own}
        self._metrics = metrics
        self._authorizers = Authorizers(decisions=metrics.decisions)
        self._use(self._modes)
        return self._authorizers

    def _use(self, modes: Sequence[Mode]) -> None:
        """Ask these from now on."""
        webhooks = {
            mode: self._webhooks.get(mode) or self._connect(mode.name, mode.webhook)
            for mode in modes
            if mode.webhook is not None
        }
        self._authorizers.use(
            [Step(mode.type, mode.name, webhooks.get(mode) or self._own[mode.type]) for mode in modes]
        )
        self._retired += [webhook for mode, webhook in self._webhooks.items() if mode not in webhooks]
        self._modes, self._webhooks = tuple(modes), webhooks

    def _connect(self, name: str, told: Webhook) -> WebhookAuthorizer:
        try:
            place, identities = parse_server(told.kubeconfig)
        except (BadIdentities, OSError) as error:
            raise BadConfiguration(f"webhook {name}: {error}") from None
        client = WebhookClient(no_services, identities=identities)
        return WebhookAuthorizer(name, told, client, place, self._clock, self._metrics)

    async def look(self) -> None:
        """Read the file again, if it has changed."""
        assert self._path is not None
        try:
            found = self._path.read_bytes()
            if found == self._read:
                return
            await self._let_go()  # By now they have answered what they were asked.
            self._read = found
            self._use(parse(found, self._required))
        except (BadConfiguration, OSError) as error:
            log.warning("the changed authorization configuration cannot be used", extra={"why": str(error)})
            self._note("failure")
            return
        self._note("success")
        log.info("authorization configuration read again", extra={"file": str(self._path)})

    def _note(self, status: str) -> None:
        labels = (status, self._id_hash)
        self._metrics.reloads.add(labels)
        self._metrics.reloaded_at.set(self._clock.now(), labels)

    async def follow(self) -> None:
        """Look again and again, until cancelled; returns at once where there is no file."""
        while self._path is not None:
            await self._clock.sleep(LOOK_EVERY_S)
            await self.look()

    async def _let_go(self) -> None:
        retired, self._retired = self._retired, []
        for webhook in retired:
            await webhook.close()

    async def close(self) -> None:
        """Let go of connections."""
        self._retired += self._webhooks.values()
        await self._let_go()
