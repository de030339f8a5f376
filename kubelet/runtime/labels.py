"""Names of the labels and annotations on sandboxes and containers.

The labels are upstream's, so that crictl shows pods as it always does. Annotations carry what a kubelet that starts
anew must know of what its predecessor made.
"""

from __future__ import annotations

from typing import Final

POD_NAME: Final = "io.kubernetes.pod.name"
POD_NAMESPACE: Final = "io.kubernetes.pod.namespace"
POD_UID: Final = "io.kubernetes.pod.uid"
CONTAINER_NAME: Final = "io.kubernetes.container.name"

RESTART_COUNT: Final = "io.kubernetes.container.restartCount"
SPEC_HASH: Final = "io.kubernetes.container.hash"
GRACE_PERIOD: Final = "io.kubernetes.pod.terminationGracePeriod"
TERMINATION_MESSAGE_PATH: Final = "io.kubernetes.container.terminationMessagePath"
TERMINATION_MESSAGE_POLICY: Final = "io.kubernetes.container.terminationMessagePolicy"
BACKOFF: Final = "steersman.restart-backoff-seconds"
"""Ours: how long to wait after this attempt before the next; upstream keeps it in memory only."""
