"""lightkube: verbs, apply, status, wait, watch, logs, and a kind of one's own."""

import sys

import lightkube
from lightkube.core.exceptions import ApiError
from lightkube.generic_resource import create_namespaced_resource
from lightkube.models.core_v1 import Container, PodSpec
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.operators import exists
from lightkube.resources.apps_v1 import Deployment
from lightkube.resources.core_v1 import ConfigMap, Namespace, Pod
from lightkube.types import CascadeType, PatchType

NAMESPACE = sys.argv[1]
client = lightkube.Client(namespace=NAMESPACE, field_manager="me")
for n in range(5):
    client.create(ConfigMap(metadata=ObjectMeta(name=f"c{n}", labels={"n": str(n)}), data={"n": str(n)}))
assert [each.data["n"] for each in client.list(ConfigMap, labels={"n": exists()}, chunk_size=2)] == list("01234")
assert [each.metadata.name for each in client.list(ConfigMap, labels={"n": ("1", "3")})] == ["c1", "c3"]
client.patch(ConfigMap, "c1", {"data": {"n": None, "m": "1"}}, patch_type=PatchType.MERGE)
found = client.get(ConfigMap, "c1")
assert found.data == {"m": "1"}
found.data = {"z": "9"}
client.replace(found)
applied = client.apply(ConfigMap(metadata=ObjectMeta(name="c1"), data={"s": "a"}), force=True)
assert applied.data == {"z": "9", "s": "a"}
events = client.watch(ConfigMap, resource_version=applied.metadata.resourceVersion)
client.delete(ConfigMap, "c1")
assert next(events)[0] == "DELETED"
try:
    client.get(ConfigMap, "c1")
except ApiError as error:
    assert error.status.reason == "NotFound" and error.status.code == 404
else:
    raise AssertionError("it is still there")
container = Container(name="c", image="steersman.local/web:1")
client.create(
    Pod(metadata=ObjectMeta(name="web"), spec=PodSpec(containers=[container], terminationGracePeriodSeconds=1))
)
client.wait(Pod, "web", for_conditions=["Ready"])
list(client.log("web"))
client.deletecollection(ConfigMap)
assert not list(client.list(ConfigMap, labels={"n": exists()}))
scaled = create_namespaced_resource("apps", "v1", "Deployment", "deployments")
template = {"metadata": {"labels": {"a": "d"}}, "spec": {"containers": [{"name": "c", "image": container.image}]}}
client.create(
    scaled(
        metadata=ObjectMeta(name="d"),
        spec={"replicas": 0, "selector": {"matchLabels": {"a": "d"}}, "template": template},
    )
)
client.patch(Deployment.Scale, "d", {"spec": {"replicas": 1}})
assert client.get(Deployment.Scale, "d").spec.replicas == 1
client.delete(Deployment, "d", cascade=CascadeType.FOREGROUND)
assert NAMESPACE in {each.metadata.name for each in client.list(Namespace)}
