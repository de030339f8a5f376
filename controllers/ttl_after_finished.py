"""Deletes Jobs some time after they have ended, where they ask for it (`ttlSecondsAfterFinished`, KEP-592)."""

from __future__ import annotations

from api import timestamps
from api.batch import job as jobs
from api.batch.job import Job
from api.resource import ObjectKey
from client.verbs import key_of
from controllers.actions import NOTHING, Delete, Plan
from controllers.runner import Controller, Listers


def observe(key: ObjectKey, listers: Listers) -> Job | None:
    """Read the Job."""
    return listers[jobs.RESOURCE].get(key)


def finished_at(job: Job) -> float | None:
    """Return when a Job ended, or None while it has not."""
    for condition in job.status.conditions:
        if condition.type in ("Complete", "Failed") and condition.status == "True":
            return timestamps.parse(condition.last_transition_time) if condition.last_transition_time else 0.0
    return None


def reconcile(observed: Job, now: float) -> Plan:
    """Delete the Job with all it made, or look again when its time has come."""
    ttl_s, ended_at = observed.spec.ttl_seconds_after_finished, finished_at(observed)
    if ttl_s is None or ended_at is None or observed.metadata.deletion_timestamp:
        return NOTHING
    left_s = ended_at + ttl_s - now
    if left_s > 0:
        return Plan(requeue_after_s=left_s + 0.1)
    metadata = observed.metadata
    # If it changes in that moment, it may have been given more time.
    gone = Delete(
        jobs.RESOURCE,
        key_of(observed),
        metadata.uid,
        propagation="Foreground",
        resource_version=metadata.resource_version,
    )
    return Plan((gone,))


CONTROLLER: Controller[Job, Job] = Controller(
    name="ttl-after-finished-controller", resource=jobs.RESOURCE, observe=observe, reconcile=reconcile, workers=2
)
