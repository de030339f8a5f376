from __future__ import annotations

import logging

import pytest

from apiserver.rest.health import Health


async def test_failures_are_logged_when_they_change_and_not_at_each_probe(caplog: pytest.LogCaptureFixture):
    problems: dict[str, str | None] = {"etcd": "no quorum", "informer-sync": None}

    def check(name: str):
        async def ask() -> str | None:
            return problems[name]

        return ask

    health = Health({"etcd": check("etcd")}, {"informer-sync": check("informer-sync")})
    caplog.set_level(logging.INFO)

    async def probes() -> list[str]:
        caplog.clear()
        for _ in range(3):
            await health.report("readyz")
        return [record.message for record in caplog.records]

    assert await probes() == ["health checks fail"]
    assert await probes() == []
    problems["informer-sync"] = "not filled"
    assert await probes() == ["health checks fail"]
    problems["etcd"] = "no quorum, still"
    assert await probes() == [], "the same checks fail"
    problems.update({"etcd": None, "informer-sync": None})
    assert await probes() == ["health checks pass again"]
    assert await probes() == []
