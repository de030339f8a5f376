"""When a Job has failed or succeeded, where more than numbers count: exit codes, conditions of pods, and indexes."""

from __future__ import annotations

from typing import Annotated

from api.schema import Int32, Struct, always, shown_empty, wire


class SuccessPolicyRule(Struct):
    """Which indexes, or how many, are enough. With both: so many of these.

    Attributes:
        succeeded_indexes: The indexes that must succeed, as numbers and ranges such as 0,2-4.
        succeeded_count: How many indexes must succeed.
    """

    succeeded_indexes: Annotated[str | None, wire(1)] = None
    succeeded_count: Annotated[Int32 | None, wire(2)] = None


class SuccessPolicy(Struct):
    """When an indexed Job has succeeded though not all of its indexes have.

    Attributes:
        rules: It has as soon as one of these is met; the pods that still run are then ended.
    """

    rules: Annotated[list[SuccessPolicyRule], wire(1, required=True, list_type="atomic")] = []


class PodFailurePolicyOnPodConditionsPattern(Struct):
    """A condition that a failed pod has.

    Attributes:
        type: The condition's type, such as DisruptionTarget.
        status: Its status; True by default.
    """

    type: Annotated[str, wire(1, required=True)] = always("")
    status: Annotated[str, wire(2, required=True)] = always("")


class PodFailurePolicyOnExitCodesRequirement(Struct):
    """Exit codes of a failed pod's containers; 0 never counts.

    Attributes:
        container_name: Which container or init container; unset, any of them.
        operator: In (one of the values) or NotIn (none of them).
        values: The exit codes, at most 255 of them in ascending order; 0 cannot be there for In.
    """

    container_name: Annotated[str | None, wire(1)] = None
    operator: Annotated[str, wire(2, required=True)] = always("")
    values: Annotated[list[Int32], wire(3, required=True, list_type="set")] = []


class PodFailurePolicyRule(Struct):
    """What is done about pods that failed in this way; one way to tell is set.

    Attributes:
        action: FailJob ends the whole Job, FailIndex gives up the pod's index, Ignore replaces the pod without
            counting, Count counts it towards backoffLimit, as without a policy.
        on_exit_codes: By the exit codes of its containers.
        on_pod_conditions: By its conditions; one of these is enough.
    """

    action: Annotated[str, wire(1, required=True)] = always("")
    on_exit_codes: Annotated[PodFailurePolicyOnExitCodesRequirement | None, wire(2)] = None
    on_pod_conditions: Annotated[list[PodFailurePolicyOnPodConditionsPattern], wire(3, list_type="atomic")] = []


class PodFailurePolicy(Struct):
    """What a failed pod means, by the first rule that matches. The pods' restartPolicy must be Never.

    Attributes:
        rules: The rules, in the order they are tried; at most 20. A pod that none matches counts towards backoffLimit.
    """

    rules: Annotated[list[PodFailurePolicyRule], wire(1, required=True, list_type="atomic")] = shown_empty()
