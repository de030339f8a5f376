"""The examples for Prometheus and Grafana are well formed, and ask the ports that processes listen on."""

from __future__ import annotations

import json
import re
from pathlib import Path

import yaml

from deploy.machine.plan import BALANCER_PORT, HEALTH_PORTS, KUBELET_PORT, SECURE_PORT

ROOT = Path(__file__).parents[3]
AT = ROOT / "deploy/observability"
_NOT_METRICS = re.compile(r'"[^"]*"|\b(by|on|without)\s*\([^)]*\)|\{[^}]*\}|\[[^]]*\]')


def test_prometheus_asks_every_process_at_the_port_it_listens_on():
    config = yaml.safe_load((AT / "prometheus.yaml").read_text())
    targets = [job["static_configs"][0]["targets"][0] for job in config["scrape_configs"]]
    ports = {int(target.rpartition(":")[2]) for target in targets}
    # A kubelet tells of its node to those who show who they are.
    assert ports == {*HEALTH_PORTS.values(), SECURE_PORT, KUBELET_PORT} - {HEALTH_PORTS["kubelet"]}
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


def test_every_metric_that_is_asked_for_is_one_that_a_process_shows():
    dashboard = json.loads((AT / "dashboard.json").read_text())
    rules = yaml.safe_load((AT / "rules.yaml").read_text())["groups"]
    asked = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    asked += [rule["expr"] for group in rules for rule in group["rules"]]
    names = {name for expr in asked for name in re.findall(r"[a-z]+(?:_[a-z]+)+", _NOT_METRICS.sub("", expr))}
    names -= {"histogram_quantile"}
    assert len(names) > 20
    folders = [
        "apiserver",
        "client",
        "component",
        "controllers",
        "scheduler",
        "kubelet",
        "kubeproxy",
        "clusterdns",
        "store",
    ]
    code = "".join(path.read_text() for folder in folders for path in (ROOT / folder).rglob("*.py"))
    for name in names:
        shown = re.sub("_(bucket|sum|count)$", "", name)
        made = shown.startswith(("container_network_", "kubelet_certificate_manager_"))
        assert made or f'"{shown}"' in code, f"{name} is shown by no process"
