"""Tokens of accounts that are kept in Secrets: the labels and names by which their use is known (KEP-2799). Pure."""

from __future__ import annotations

from typing import Final

from api.core.secret import Secret
from api.core.serviceaccount import ServiceAccount
from api.resource import ObjectKey

TYPE: Final = "kubernetes.io/service-account-token"
NAME: Final = "kubernetes.io/service-account.name"
"""The annotation with the account's name."""
LAST_USED: Final = "kubernetes.io/legacy-token-last-used"
"""The label with the day, in UTC, on which the token was last used."""
INVALID_SINCE: Final = "kubernetes.io/legacy-token-invalid-since"
"""The label with the day since which the token is not believed any more."""
TRACKING: Final = ObjectKey("kube-system", "kube-apiserver-legacy-service-account-token-tracking")
"""The ConfigMap that says since when uses are noted."""
SINCE: Final = "since"
"""Its key: a day."""


def is_made_for(secret: Secret, account: ServiceAccount) -> bool:
    """Whether a Secret was made by the cluster, as it once did: the account names it; people's own it does not."""
    return any(reference.name == secret.metadata.name for reference in account.secrets)
