from __future__ import annotations

import copy

import msgspec

from api.core.pod import PodSpec
from api.core.pod_difference import difference


def test_what_differs_is_shown_in_gos_form_and_what_does_not_is_counted() -> None:
    container = {"name": "c", "image": "nginx", "env": [{"name": "A", "value": "b"}]}
    volumes = [{"name": "v", "emptyDir": {}}]
    spec = {"containers": [{"name": "a"}, container], "nodeName": "n", "dnsPolicy": "Default", "volumes": volumes}
    old = msgspec.convert(spec, PodSpec)
    assert difference(old, copy.deepcopy(old)) == ""
    new = copy.deepcopy(old)
    new.dns_policy, new.node_name, new.os = "None", "", None
    new.containers[1].env[0].value = 'b"'
    new.node_selector = {"x": "y"}
    new.volumes = []
    lines = difference(old, new).splitlines()
    assert lines[:2] == ["  core.PodSpec{", '- \tVolumes: {{Name: "v", EmptyDir: {}}},']
    assert lines[-1] == "  }"
    for line in (
        "+ \tVolumes: nil,",
        "  \tContainers: []core.Container{",
        "  \t\t... // 1 identical element",
        '- \t\t\t\t\tValue: "b",',
        '+ \t\t\t\t\tValue: "b\\"",',
        '- \tDNSPolicy: "Default",',
        '+ \tDNSPolicy: "None",',
        "- \tNodeSelector: nil,",
        '+ \tNodeSelector: {"x": "y"},',
        '- \tNodeName: "n",',
    ):
        assert line in lines, line
