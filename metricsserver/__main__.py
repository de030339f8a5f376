"""`steer-metrics`: settings to wiring."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from component import flags, health, logs, metrics, signals
from component.certificates import fresh_server
from component.clock import Clock, RealClock
from component.flags import setting
from component.metrics import Gauge, Tally
from component.serve import Identity
from metricsserver import samples
from metricsserver.asking import Asking, Kubelet, NoAnswer, Refused
from metricsserver.samples import Samples
from metricsserver.server import Answers, Listener

log = logging.getLogger(__name__)

SECOND_LOOK_S: Final = 5.0
"""When everything is asked again after the start: one sample tells no use."""
AGAIN_S: Final = 1.0
"""When a round that could not even begin is tried again: API server and rights may come a moment after us."""
AT_ONCE_MAX: Final = 16
"""How many kubelets are asked at once."""


@dataclass(frozen=True)
class Settings:
    """What nodes and pods use, as metrics.k8s.io: an aggregated API server."""

    apiserver: tuple[str, ...] = setting("the API servers, host:port of their REST API, comma-separated")
    cert: Path = setting("our certificate, as a client and as a server (PEM)")
    key: Path = setting("its key (PEM)")
    ca: Path = setting("the cluster's CA, which we believe API servers and kubelets by (PEM)")
    requestheader_client_ca: Path = setting("CA of the front proxy, the only client there is (PEM)")
    listen: str = setting("host:port of the API")
    requestheader_allowed_names: tuple[str, ...] = setting(
        "common names that its certificate may bear, comma-separated; any without it", ()
    )
    health: str = setting("host:port of health and metrics", "127.0.0.1:10251")
    resolution_s: float = setting("how often kubelets are asked", 15.0)
    log_level: Literal["debug", "info", "warning", "error"] = setting("least severe level logged", "info")
    log_format: Literal["text", "json"] = setting("how log lines look", "text")


class Rounds:
    """Asks every kubelet, again and again; `run` must be running."""

    def __init__(self, asking: Asking, found: Samples, clock: Clock, resolution_s: float) -> None:
        self._asking = asking
        self._samples = found
        self._clock = clock
        self._resolution_s = resolution_s
        self._problem: str | None = "no round is over yet"
        self._silent: dict[str, str] = {}
        self.scrapes = Tally("metrics_server_kubelet_request_total", "Kubelets asked, by outcome.", ("success",))

    def check(self) -> str | None:
        """Return what keeps the last round from being a good one."""
        return self._problem

    def families(self) -> list[metrics.Family]:
        """Return what is counted."""
        points = Gauge(
            "metrics_server_storage_points",
            "Nodes and pods that can be told of.",
            lambda: {("node",): len(self._samples.of_nodes()), ("pod",): len(self._samples.of_pods())},
            ("type",),
        )
        return [self.scrapes, points]

    async def run(self) -> None:
        """Ask until cancelled."""
        pause_s = SECOND_LOOK_S
        while True:
            began = self._clock.monotonic()
            try:
                await self.round()
            except (NoAnswer, Refused) as error:
                if self._problem is None:
                    log.warning("the nodes are not known", extra={"why": str(error)})
                self._problem = str(error)
                await self._clock.sleep(AGAIN_S)
                continue
            self._problem = None
            await self._clock.sleep(max(1.0, pause_s - (self._clock.monotonic() - began)))
            pause_s = self._resolution_s

    async def round(self) -> None:
        """Ask every kubelet once; one that does not answer is logged when it falls silent."""
        kubelets = await self._asking.kubelets()
        turns = asyncio.Semaphore(AT_ONCE_MAX)

        async def ask(kubelet: Kubelet) -> None:
            async with turns:
                try:
                    text = await self._asking.usage(kubelet)
                except NoAnswer as error:
                    self.scrapes.add(("false",))
                    if kubelet.node not in self._silent:
                        log.warning("a kubelet does not answer", extra={"node": kubelet.node, "why": str(error)})
                    self._silent[kubelet.node] = str(error)
                    return
            self.scrapes.add(("true",))
            self._silent.pop(kubelet.node, None)
            self._samples.add(kubelet.node, samples.parse(text, self._clock.now()))

        await asyncio.gather(*(ask(kubelet) for kubelet in kubelets))
        self._samples.keep((kubelet.node for kubelet in kubelets), self._clock.now())


async def run(settings: Settings) -> None:
    """Serve until cancelled."""
    clock, found = RealClock(), Samples()
    asking = Asking(settings.apiserver, Identity(settings.cert, settings.key, settings.ca))
    rounds = Rounds(asking, found, clock, settings.resolution_s)
    listener = Listener(Answers(asking, found, clock), settings.requestheader_allowed_names)
    front_proxy = Identity(settings.cert, settings.key, settings.requestheader_client_ca)
    host, _, port = settings.listen.rpartition(":")
    certificates = fresh_server(front_proxy, client_certificates=ssl.CERT_REQUIRED)
    await listener.start(host, int(port), certificates.serving())
    log.info("answering", extra={"at": settings.listen})
    host, _, port = settings.health.rpartition(":")
    teller = await health.serve(
        host, int(port), {"nodes": rounds.check}, metrics=lambda: metrics.render(rounds.families())
    )
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(certificates.follow(), name="certificates")
            group.create_task(rounds.run(), name="rounds")
    finally:
        listener.close()
        await teller.cleanup()


def main(argv: Sequence[str] | None = None) -> int:
    """Run the process; return its exit code."""
    settings = flags.parse(Settings, argv, prog="steer-metrics")
    logs.configure(settings.log_level, settings.log_format)
    return signals.run(run(settings))


if __name__ == "__main__":
    raise SystemExit(main())
