from __future__ import annotations

import dataclasses
from typing import Any

from api import timestamps
from api.core.configmap import ConfigMap
from api.core.legacy_tokens import TRACKING
from api.core.pod import Pod, PodSpec
from api.core.references import ObjectReference
from api.core.secret import Secret
from api.core.serviceaccount import ServiceAccount
from api.core.volumes import SecretVolumeSource, Volume
from api.meta import ObjectMeta
from api.resource import ObjectKey, Resource
from controllers.actions import Delete, Patch, Plan
from controllers.legacy_tokens import LOOK_S, UNUSED_S, Observed, observe, reconcile

NOW = 1_700_000_000.0  # 2023-11-14T22:13:20Z
LAST_USED = "kubernetes.io/legacy-token-last-used"
INVALID_SINCE = "kubernetes.io/legacy-token-invalid-since"
LATER = Plan(requeue_after_s=LOOK_S)
LONG_AGO, A_YEAR_AGO, LESS = "2020-01-01", "2022-11-14", "2022-11-15"


def token(created: str = LONG_AGO, since: str = LONG_AGO, *, is_mounted: bool = False, **labels: str) -> Observed:
    named = {"used": LAST_USED, "invalid": INVALID_SINCE}
    metadata = ObjectMeta(
        name="t", namespace="n", uid="u", resource_version="7", creation_timestamp=f"{created}T00:00:00Z",
        labels={named[name]: value for name, value in labels.items()},
    )  # fmt: skip
    return Observed(Secret(metadata=metadata, type="kubernetes.io/service-account-token"), since, is_mounted)


class Cache(dict[ObjectKey, Any]):
    def list(self, namespace: str) -> list[Any]:
        return [obj for key, obj in self.items() if key.namespace == namespace]


def test_only_tokens_that_their_account_names_are_looked_at() -> None:
    secret, key = token().secret, ObjectKey("n", "t")
    secret.metadata.annotations = {"kubernetes.io/service-account.name": "bot"}
    account = ServiceAccount(metadata=ObjectMeta(name="bot", namespace="n"))
    tracking = ConfigMap(data={"since": LONG_AGO})
    caches = {
        "secrets": Cache({key: secret}),
        "serviceaccounts": Cache({ObjectKey("n", "bot"): account}),
        "configmaps": Cache({TRACKING: tracking}),
        "pods": Cache(),
    }

    class Told:
        def __getitem__(self, resource: Resource[Any]) -> Cache:
            return caches[resource.plural]

    listers: Any = Told()
    assert observe(key, listers) is None
    account.secrets = [ObjectReference(name="t")]
    assert observe(key, listers) == Observed(secret, LONG_AGO, is_mounted=False)
    volume = Volume(name="v", secret=SecretVolumeSource(secret_name="t"))
    caches["pods"][ObjectKey("n", "p")] = Pod(spec=PodSpec(volumes=[volume]))
    assert observe(key, listers) == Observed(secret, LONG_AGO, is_mounted=True)
    secret.type = "Opaque"
    assert observe(key, listers) is None


def marks(observed: Observed) -> bool:
    plan = reconcile(observed, NOW)
    if plan == LATER:
        return False
    (action,) = plan.actions
    assert isinstance(action, Patch)
    assert action.patch == {"metadata": {"uid": "u", "resourceVersion": "7", "labels": {INVALID_SINCE: "2023-11-14"}}}
    return True


def test_a_token_that_nobody_used_for_a_year_is_marked() -> None:
    assert timestamps.day_of(NOW - UNUSED_S) == A_YEAR_AGO
    assert marks(token())
    assert marks(token(used="2022-11-13"))
    assert marks(token(used="2022-11-13", since=""))
    assert marks(token(invalid="soon"))


def test_a_token_that_is_young_mounted_used_or_was_not_watched_for_long_stays() -> None:
    assert not marks(token(created=LESS))
    assert not marks(token(is_mounted=True))
    assert not marks(token(used=A_YEAR_AGO))
    assert not marks(token(used="long ago"))
    assert not marks(token(since=""))
    assert not marks(token(since=A_YEAR_AGO))
    leaving = token()
    leaving.secret.metadata.deletion_timestamp = "2023-11-14T00:00:00Z"
    assert not marks(leaving)


def test_a_token_that_was_marked_a_year_ago_is_deleted_if_it_has_not_changed_since() -> None:
    assert reconcile(token(invalid=LESS), NOW) == LATER
    assert reconcile(token(invalid=A_YEAR_AGO), NOW) == LATER
    (action,) = reconcile(token(invalid="2022-11-13"), NOW).actions
    assert isinstance(action, Delete) and (action.uid, action.resource_version) == ("u", "7")
    tried = token(invalid="2022-11-13", used=LESS)
    assert reconcile(tried, NOW) == LATER
    assert reconcile(dataclasses.replace(tried), NOW, unused_s=60.0).actions
