"""The examples for Prometheus and Grafana are well formed, and ask the ports that processes listen on."""

from __future__ import annotations

import json
import re
from pathlib import Path

import yaml

from deploy.machine.plan import BALANCER_PORT, HEALTH_PORTS, SECURE_PORT

AT = Path(__file__).parents[3] / "deploy/observability"


def test_prometheus_asks_every_process_at_the_port_it_listens_on():
    config = yaml.safe_load((AT / "prometheus.yaml").read_text())
    targets = [job["static_configs"][0]["targets"][0] for job in config["scrape_configs"]]
    ports = {int(target.rpartition(":")[2]) for target in targets}
    assert ports == {*HEALTH_PORTS.values(), SECURE_PORT}
    assert BALANCER_PORT not in ports, "that is where kubectl goes"
    assert config["rule_files"] == ["rules.yaml"]


def test_every_alert_says_what_to_look_at_first():
    groups = yaml.safe_load((AT / "rules.yaml").read_text())["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    assert rules
    for rule in rules:
        assert set(rule["annotations"]) == {"summary", "first"}
        assert rule["labels"]["severity"] in ("critical", "warning")


def test_the_dashboard_shows_only_metrics_whose_names_are_well_formed_and_uses_its_data_source():
    dashboard = json.loads((AT / "dashboard.json").read_text())
    ids = [panel["id"] for panel in dashboard["panels"]]
    assert len(ids) == len(set(ids))
    for panel in dashboard["panels"]:
        assert panel["datasource"]["uid"] == "${datasource}"
        for target in panel["targets"]:
            assert target["expr"].count("(") == target["expr"].count(")")
            assert re.search(r"[a-z]+(_[a-z]+)*", target["expr"])
