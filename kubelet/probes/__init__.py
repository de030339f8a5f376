"""Probes: asking containers whether they have started, are ready, are alive.

`streak.py` is pure: results to verdicts by thresholds. `prober.py` runs one task for each probe of a running container
and keeps `Verdicts`, the only thing the rest of the kubelet looks at. One file for each way of asking.
"""
