from __future__ import annotations

import yaml

from apiserver.server import Settings as ApiserverSettings
from balancer.__main__ import Settings as BalancerSettings
from clusterdns.__main__ import Settings as DnsSettings
from component import flags
from controllers.__main__ import Settings as ControllersSettings
from deploy.machine import host
from deploy.machine.plan import Layout, dns_servers, endpoints, own_first, settings_of, units
from kubelet.__main__ import Settings as KubeletSettings
from kubeproxy.__main__ import Settings as KubeproxySettings
from metricsserver.__main__ import Settings as MetricsSettings
from scheduler.__main__ import Settings as SchedulerSettings
from store.__main__ import Settings as StoreSettings
from tests.unit.deploy.machine.builders import M1, control_plane, worker

SETTINGS = {
    "store": StoreSettings,
    "apiserver": ApiserverSettings,
    "controllers": ControllersSettings,
    "scheduler": SchedulerSettings,
    "dns": DnsSettings,
    "metrics": MetricsSettings,
    "kubelet": KubeletSettings,
    "kubeproxy": KubeproxySettings,
    "balancer": BalancerSettings,
}


def test_a_machine_asks_its_own_api_server_first() -> None:
    assert [member.name for member in own_first(control_plane("m2"))] == ["m2", "m1", "m3"]
    assert endpoints(worker()) == ["10.0.0.1:6444", "10.0.0.2:6444", "10.0.0.3:6444"]


def test_pods_find_names_whichever_control_plane_machines_are_lost() -> None:
    assert dns_servers(control_plane("m2")) == ["10.0.0.2", "10.96.0.10"]
    asked = {name: dns_servers(worker(name)) for name in ("w1", "w2", "w3")}
    assert all(servers[0] == "10.96.0.10" and len(servers) == 3 for servers in asked.values())
    assert len({tuple(servers) for servers in asked.values()}) == 3, "workers do not all lean on the same two"


def test_the_first_machines_store_begins_and_all_others_join() -> None:
    stores = {name: next(u for u in units(control_plane(name), Layout()) if u.name == "store") for name in ("m1", "m2")}
    assert "m1=10.0.0.1:2380" in stores["m1"].arguments
    assert "--join" in stores["m2"].arguments
    taken_in_by = stores["m2"].arguments[stores["m2"].arguments.index("--initial-members") + 1]
    assert taken_in_by == "m1=10.0.0.1:2380,m3=10.0.0.3:2380"


def test_a_worker_runs_no_control_plane() -> None:
    assert [unit.name for unit in units(worker(), Layout())] == ["kubelet", "kubeproxy", "balancer"]


def test_flags_become_a_settings_file() -> None:
    arguments = ["--name", "m1", "--join", "--initial-members", "a=1,b=2", "--last"]
    assert settings_of(arguments) == {"name": "m1", "join": True, "initialMembers": ["a=1", "b=2"], "last": True}


def test_every_process_knows_each_of_its_settings(monkeypatch, tmp_path) -> None:
    # Paths are looked at by some settings classes; here only names and types are in question.
    monkeypatch.setattr("pathlib.Path.is_file", lambda self: True)
    monkeypatch.setattr("os.geteuid", lambda: 0)
    for unit in units(control_plane(members=(M1,)), Layout()):
        file = tmp_path / f"{unit.name}.yaml"
        file.write_bytes(host.render_settings(unit))
        assert set(yaml.safe_load(file.read_text())) == set(settings_of(unit.arguments))
        parsed = flags.parse(SETTINGS[unit.name], ["--config", str(file)], prog=unit.name)  # type: ignore[type-var]
        assert parsed is not None
