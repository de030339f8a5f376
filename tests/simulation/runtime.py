"""A node of the simulation: a machine that is imagined, and containers that outlive their kubelet."""

from __future__ import annotations

import dataclasses
import random

from client.verbs import Client
from component.clock import Clock
from kubelet import machine
from kubelet.kubelet import Kubelet, NodeIdentity
from kubelet.runtime.hollow import HollowCri

CPUS = 1
"""Of every node: ten pods of 100m fit."""


class SimulatedNode:
    """What stays when the kubelet crashes."""

    def __init__(self, name: str, number: int, clock: Clock) -> None:
        self.name = name
        self.address = f"192.168.0.{number}"
        self.cri = HollowCri(clock, f"10.244.{number}.0/24", start_delay_s=0.1)
        self._clock = clock

    def kubelet(self, client: Client, rng: random.Random) -> Kubelet:
        """Return a kubelet for one life: the real one, over containers in memory."""
        return Kubelet(
            NodeIdentity(name=self.name, ips=(self.address,), port=10250),
            client=client,
            cri=self.cri,
            clock=self._clock,
            rng=rng,
            machine=dataclasses.replace(machine.hollow(self.name), cpus=CPUS),
        )
