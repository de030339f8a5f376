"""Claims of ephemeral volumes over the real API server."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from api.core import persistentvolumeclaim as claims
from api.core import pod as pods
from api.core.pod import Pod
from api.resource import ObjectKey
from controllers.ephemeral_volumes import Observed, reconcile
from tests.unit.controllers.world import world


def pod(name: str = "web") -> Pod:
    template: dict[str, Any] = {
        "metadata": {"labels": {"kind": "scratch"}},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
    }
    spec = {
        "containers": [{"name": "c", "image": "web"}],
        "volumes": [{"name": "scratch", "ephemeral": {"volumeClaimTemplate": template}}],
    }
    return msgspec.convert({"metadata": {"name": name, "namespace": "default", "uid": "u"}, "spec": spec}, Pod)


@pytest.mark.looptime
async def test_a_claim_is_made_for_the_pod_and_belongs_to_it():
    async with world() as at:
        made = await at.client.create(pods.RESOURCE, pod())

        async def is_there() -> bool:
            return len((await at.client.list(claims.RESOURCE, "default")).items) == 1

        await at.until(is_there)
        claim = await at.client.get(claims.RESOURCE, ObjectKey("default", "web-scratch"))
        (owner,) = claim.metadata.owner_references
        assert (owner.kind, owner.uid, owner.controller) == ("Pod", made.metadata.uid, True)
        assert claim.metadata.labels == {"kind": "scratch"}


def test_a_claim_of_somebody_else_is_left_alone_and_told_of():
    claim = claims.PersistentVolumeClaim()
    (told,) = reconcile(Observed(pod(), {"web-scratch": claim}), 0).actions
    assert "PVC default/web-scratch was not created for pod default/web (pod is not owner)" in told.message
