"""`steer chaos machines`: breaks a cluster on machines under systemd while a workload runs, and judges what it saw.

The same idea as `steer chaos store`, one storey up: clients record every call they make through the API (`load.py`),
faults drawn from a seed strike (`scenarios.py` says which there are, `faults.py` does them), and the history is judged
by the same checks. What is broken is a lab (`lab.machines`), seen as `site.py` shows it. `rounds.py` ties it together;
`view.py` shows it live, `report.py` writes it up.
"""
