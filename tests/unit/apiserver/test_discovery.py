from pathlib import Path

from apiserver import discovery

GOLDEN = Path(__file__).parents[2] / "golden" / "resources.txt"


def listed() -> list[str]:
    lines = []
    for core in (True, False):
        for group in discovery.aggregated(core=core, version="v2")["items"]:
            for version in group["versions"]:
                for resource in version["resources"]:
                    kind = resource["responseKind"]
                    names = ",".join([resource["resource"], *resource.get("shortNames", [])])
                    subresources = ",".join(found["subresource"] for found in resource.get("subresources", []))
                    api_version = f"{kind['group']}/{kind['version']}".lstrip("/")
                    lines.append(
                        f"{api_version} {kind['kind']} {names} {resource['scope']}"
                        f" [{','.join(resource['verbs'])}] [{subresources}]"
                    )
    return lines


def test_the_kinds_served_are_the_golden_list() -> None:
    assert sorted(listed()) == sorted(GOLDEN.read_text().splitlines())


def test_each_version_is_named_as_asked() -> None:
    ask = "application/{};g=apidiscovery.k8s.io;v={};as=APIGroupDiscoveryList"
    old, new = ask.format("json", "v2beta1"), ask.format("json", "v2")
    assert discovery.aggregated_version(f"{old},application/json") == ("v2beta1", "application/json")
    assert discovery.aggregated_version(f"{new},{old},application/json") == ("v2", "application/json")
    assert discovery.aggregated_version("application/json") is None
    assert discovery.aggregated_version(f"application/json,{new}") is None
    assert discovery.aggregated_version("*/*") is None
    message = "application/vnd.kubernetes.protobuf"
    assert discovery.aggregated_version(f"{ask.format('vnd.kubernetes.protobuf', 'v2')},{new}") == ("v2", message)
    assert discovery.aggregated_version(f"application/cbor,{ask.format('yaml', 'v2')}") == ("v2", "application/yaml")
    assert discovery.aggregated_version(f"{message},{new}") is None
    assert discovery.aggregated(core=True, version="v2beta1")["apiVersion"] == "apidiscovery.k8s.io/v2beta1"


def test_the_legacy_lists_say_the_same() -> None:
    found = discovery.resource_list("apps", "v1")
    assert found is not None
    assert found["groupVersion"] == "apps/v1"
    names = [entry["name"] for entry in found["resources"]]
    assert names == [
        "controllerrevisions",
        "daemonsets",
        "daemonsets/status",
        "deployments",
        "deployments/scale",
        "deployments/status",
        "replicasets",
        "replicasets/scale",
        "replicasets/status",
        "statefulsets",
        "statefulsets/scale",
        "statefulsets/status",
    ]
    scale = next(entry for entry in found["resources"] if entry["name"] == "deployments/scale")
    assert (scale["group"], scale["version"], scale["kind"]) == ("autoscaling", "v1", "Scale")
    names = [group["name"] for group in discovery.group_list()["groups"]]
    assert names[:3] == ["apiregistration.k8s.io", "apps", "events.k8s.io"]  # by priority, as upstream has them
    apps = next(group for group in discovery.group_list()["groups"] if group["name"] == "apps")
    assert discovery.group("apps") == {"kind": "APIGroup", "apiVersion": "v1", **apps}
    assert discovery.group("nothing") is None
    assert discovery.resource_list("apps", "v2") is None


def test_the_version_that_objects_are_stored_in_is_told_as_a_hash() -> None:
    def hashes(group: str, version: str) -> dict[str, str]:
        found = discovery.resource_list(group, version)
        assert found is not None
        return {each["name"]: each.get("storageVersionHash", "") for each in found["resources"]}

    core = hashes("", "v1")
    assert (core["configmaps"], core["pods"]) == ("qFsyl6wFWjQ=", "xPOwRZ+Yhw8=")
    assert (core["pods/status"], core["bindings"], core["componentstatuses"]) == ("", "", "")
    assert hashes("events.k8s.io", "v1")["events"] == core["events"]
    autoscalers = "horizontalpodautoscalers"
    assert hashes("autoscaling", "v1")[autoscalers] == hashes("autoscaling", "v2")[autoscalers]


def test_stable_versions_come_first() -> None:
    versions = ["v1alpha1", "v1", "v2", "v1beta2", "v1beta10"]
    assert sorted(versions, key=discovery.version_rank) == ["v2", "v1", "v1beta10", "v1beta2", "v1alpha1"]
