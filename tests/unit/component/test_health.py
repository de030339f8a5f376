from __future__ import annotations

import aiohttp

from component import health


async def fetch(port: int, path: str) -> tuple[int, str]:
    async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{port}{path}") as response:
        return response.status, await response.text()


async def test_a_failing_check_is_named_and_liveness_is_apart_from_readiness() -> None:
    problem: str | None = "no leader"
    runner = await health.serve("127.0.0.1", 0, ready={"leader": lambda: problem})
    try:
        port = runner.addresses[0][1]
        assert await fetch(port, "/livez") == (200, "ok")
        status, text = await fetch(port, "/readyz")
        assert status == 500 and "[-]leader failed: no leader" in text
        problem = None
        assert await fetch(port, "/readyz") == (200, "ok")
        assert "[+]leader ok" in (await fetch(port, "/readyz?verbose"))[1]
        assert await fetch(port, "/readyz/leader") == (200, "ok")
        assert (await fetch(port, "/readyz/nobody"))[0] == 404
        problem = "no leader"
        assert await fetch(port, "/readyz?exclude=leader") == (200, "ok")
        assert "[+]leader excluded: ok" in (await fetch(port, "/readyz?verbose&exclude=leader"))[1]
        assert "python_info" in (await fetch(port, "/metrics"))[1]
        seen = (await fetch(port, "/metrics/slis"))[1].splitlines()
        assert 'kubernetes_healthcheck{name="leader",type="readyz"} 1' in seen
        assert 'kubernetes_healthchecks_total{name="leader",status="error",type="readyz"} 1' in seen
        assert 'kubernetes_healthchecks_total{name="leader",status="success",type="readyz"} 2' in seen, "not alone"
    finally:
        await runner.cleanup()
