"""What a process tells of itself."""

from __future__ import annotations

import time

from component.metrics import render
from component.process_metrics import families


def test_a_process_tells_what_it_uses_under_the_usual_names():
    lines = render(families()).decode().splitlines()
    told = {line.split()[0]: float(line.split()[1]) for line in lines if line.startswith("process_")}
    assert 1 << 20 < told["process_resident_memory_bytes"] < told["process_virtual_memory_bytes"]
    assert 0 < told["process_open_fds"] < told["process_max_fds"]
    assert told["process_cpu_seconds_total"] > 0
    assert time.time() - 7 * 86400 < told["process_start_time_seconds"] < time.time() + 1
    assert any(line.startswith("python_info{") for line in lines)
