from __future__ import annotations

import msgspec
import pytest

from api.core.persistentvolume import PersistentVolume
from api.core.persistentvolumeclaim import PersistentVolumeClaim
from controllers.actions import Emit
from controllers.volume_expansion import WHY, Observed, reconcile


def told(asked: str, has: str, *, holder: str = "u") -> list[tuple[str, str]]:
    claim = {
        "metadata": {"name": "c", "namespace": "default", "uid": "u"},
        "spec": {"volumeName": "v", "resources": {"requests": {"storage": asked}}},
        "status": {"phase": "Bound", "capacity": {"storage": has}},
    }
    volume = {"metadata": {"name": "v"}, "spec": {"claimRef": {"namespace": "default", "name": "c", "uid": holder}}}
    observed = Observed(msgspec.convert(claim, PersistentVolumeClaim), msgspec.convert(volume, PersistentVolume))
    return [(step.reason, step.message) for step in reconcile(observed, 0.0).actions if isinstance(step, Emit)]


@pytest.mark.parametrize(("asked", "has"), [("2Gi", "1Gi"), ("1025Mi", "1Gi")])
def test_a_claim_that_wants_more_is_told_who_gives_it(asked: str, has: str) -> None:
    assert told(asked, has) == [("ExternalExpanding", WHY)]


@pytest.mark.parametrize(("asked", "has"), [("1Gi", "1Gi"), ("1024Mi", "1Gi"), ("1Gi", "2Gi")])
def test_a_claim_that_has_enough_is_told_nothing(asked: str, has: str) -> None:
    assert told(asked, has) == []


def test_a_volume_of_another_claim_is_none_of_its_business() -> None:
    assert told("2Gi", "1Gi", holder="other") == []
