"""The loop in miniature: API server, ReplicaSet controller, scheduler and kubelets on virtual time, with faults."""

from __future__ import annotations

import asyncio
import os
import platform
import random
import subprocess

import pytest

from tests.simulation.checkers import ALL
from tests.simulation.checkers.checker import Checker
from tests.simulation.cluster import Cluster, running, until
from tests.simulation.faults import Storm
from tests.simulation.loop import Leak, Stalled, fork, run

SEEDS = range(int(os.environ.get("SIMULATION_SEEDS", "4")))
"""`SIMULATION_SEEDS=200 pytest tests/simulation` looks further."""
STORM_S = 90.0
SETTLED_WITHIN_S = 180.0
"""Longest waits that may follow one another: a lease to run out, a gate that lists again, a queue's back-off."""
REPLICAS = 12


async def is_settled(cluster: Cluster) -> bool:
    wanted, found = await cluster.replicaset(), await cluster.pods()
    running_pods = [pod for pod in found if pod.status.phase == "Running" and not pod.metadata.deletion_timestamp]
    status = wanted.status
    return (
        len(found) == len(running_pods) == wanted.spec.replicas == status.ready_replicas == status.replicas
        and status.observed_generation == wanted.metadata.generation
    )


async def sample(checkers: list[Checker], cluster: Cluster) -> None:
    while True:
        await asyncio.sleep(1)
        for checker in checkers:
            try:
                await checker.sample()
            except AssertionError as error:
                cluster.broken(str(error))


async def survive(rng: random.Random, log: list[str], storm_s: float) -> tuple[str, float]:
    """Run one storm; return the fingerprint of everything written, and how long settling took."""
    async with running(rng) as cluster:
        checkers = [checker(cluster) for checker in ALL]
        sampling = asyncio.get_running_loop().create_task(sample(checkers, cluster))
        storm = Storm(cluster, fork(rng, "storm"))
        storm.log = log
        await cluster.set_replicas(REPLICAS)
        await storm.blow(storm_s)
        await storm.calm()
        await until(lambda: cluster.server.endpoint is not None, within_s=30)
        await cluster.set_replicas(REPLICAS)
        took = await until(lambda: is_settled(cluster), within_s=SETTLED_WITHIN_S)
        # What is settled must stay so, and what only housekeeping finds must be found.
        await asyncio.sleep(45)
        sampling.cancel()
        for checker in checkers:
            await checker.finish()
        assert not cluster.violations, cluster.violations
        return cluster.fingerprint(), took


def simulate(seed: int, storm_s: float = STORM_S) -> tuple[str, float]:
    log: list[str] = []
    try:
        return run(seed, lambda rng: survive(rng, log, storm_s))
    except Exception as error:
        commit = subprocess.run(
            ["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False
        ).stdout.strip()
        story = "\n".join(log)
        error.add_note(f"seed {seed}, commit {commit}, Python {platform.python_version()}; what happened:\n{story}")
        raise


@pytest.mark.parametrize("seed", SEEDS)
def test_the_loop_converges_after_any_storm(seed: int) -> None:
    _, took = simulate(seed)
    assert took <= SETTLED_WITHIN_S


def test_the_same_seed_gives_the_same_run_and_another_seed_another() -> None:
    first, again, other = (simulate(seed, storm_s=8)[0] for seed in (1, 1, 2))
    assert first == again
    assert first != other


def test_real_clocks_and_sockets_are_out_of_reach() -> None:
    async def open_a_socket(rng: random.Random) -> None:
        await asyncio.open_connection("127.0.0.1", 1)

    async def wait_for_nothing(rng: random.Random) -> None:
        await asyncio.get_running_loop().create_future()

    async def start_a_thread(rng: random.Random) -> None:
        await asyncio.to_thread(print)

    for leak in (open_a_socket, start_a_thread):
        with pytest.raises(Leak):
            run(0, leak)
    with pytest.raises(Stalled):
        run(0, wait_for_nothing)


def test_an_hour_passes_in_a_moment() -> None:
    async def sleep(rng: random.Random) -> float:
        await asyncio.sleep(3600)
        return asyncio.get_running_loop().time()

    assert run(0, sleep) == pytest.approx(3600)
