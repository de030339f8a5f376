"""What is answered to a patch that does not fit its object."""

from __future__ import annotations

import pytest

from api.core.configmap import ConfigMap
from api.errors import Invalid
from api.patch.dispatch import apply_patch


def test_a_step_that_cannot_be_taken_is_refused_with_details_by_which_kubectl_shows_the_message() -> None:
    patch = [{"op": "replace", "path": "/data/a", "value": "b"}]
    with pytest.raises(Invalid) as refused:
        apply_patch({"metadata": {"name": "a"}}, patch, "application/json-patch+json", ConfigMap)
    status = refused.value.status()
    assert (status["code"], status["reason"], status["details"]) == (422, "Invalid", {})
    assert status["message"].startswith("the server rejected our request due to an error in our request")
