"""Everything this server asks of others on a client's behalf: proxied pods and Services, and aggregated servers.

Put together here, in dependency order: the way out, who is asked, what carries requests there, and what is known of the
servers that have groups of their own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

from api.apiregistration import apiservice
from api.core import endpoints, node, pod, service
from api.discovery import endpointslice
from apiserver.aggregation.availability import Availability, Gathered
from apiserver.aggregation.registration import Registration
from apiserver.aggregation.servers import Servers
from apiserver.app import Api
from apiserver.egress import Egress
from apiserver.proxies import Proxies
from apiserver.rest.forward import Forwarder
from apiserver.rest.upgrade_onward import OnwardUpgrades
from apiserver.subresources.node_proxy import Kubelets
from apiserver.subresources.proxy import ProxyLocator
from apiserver.webhooks.services import ServiceLocator
from component.clock import Clock


@dataclass(frozen=True, slots=True)
class FrontProxy:
    """The certificate that aggregated servers believe."""

    cert: Path | None = None
    key: Path | None = None


class Outside:
    """The parts that reach others. `run` must be running."""

    def __init__(
        self,
        api: Api,
        kubelets: Kubelets | None,
        tunnelled: Sequence[str],
        front_proxy: FrontProxy,
        clock: Clock,
        random: Random,
    ) -> None:
        registries = api.registries
        lister = registries.lister
        self.egress = Egress(kubelets, tunnelled, lister(node.RESOURCE), lister(pod.RESOURCE), random)
        slices = lister(endpointslice.RESOURCE)
        self.servers = Servers(
            lister(apiservice.RESOURCE),
            registries.kinds,
            ServiceLocator(lister(service.RESOURCE), slices, random),
            self.egress,
            front_proxy.cert,
            front_proxy.key,
        )
        self._availability = Availability(registries, self.servers, clock)
        self._registration = Registration(registries, clock)
        locator = ProxyLocator(registries.read, slices, lister(endpoints.RESOURCE), kubelets, random)
        self.proxies = Proxies(locator, self.servers)
        self.forwarder = Forwarder(self.egress)
        self.upgrades = OnwardUpgrades(api.handle, self.proxies, self.egress)

    def gathered(self) -> Mapping[str, Gathered]:
        """Return what aggregated servers serve, by APIService name."""
        return self._availability.gathered

    async def run(self) -> None:
        """Keep APIServices, and check who answers for them, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._registration.run(), name="APIService registration")
            tasks.create_task(self._availability.run(), name="APIService availability")

    async def close(self) -> None:
        """Let go of every connection; safe to call twice."""
        await self.servers.close()
        await self.forwarder.close()
        await self.egress.close()
