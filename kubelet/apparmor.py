"""Which AppArmor profile a container gets: by its own field, its pod's, or the annotation of old. Pure (KEP-24)."""

from __future__ import annotations

from typing import Final

from api.core.containers import Container, EphemeralContainer
from api.core.pod import Pod
from proto.cri import api_pb2 as pb

ANNOTATION: Final = "container.apparmor.security.beta.kubernetes.io/"
"""With the container's name behind it."""
_LOCALHOST: Final = "localhost/"
_RUNTIME: Final = "runtime/default"
_NONE: Final = "unconfined"


def profile_of(pod: Pod, container: Container | EphemeralContainer) -> str:
    """Return `runtime/default`, `localhost/NAME`, `unconfined`, or nothing where the runtime may choose."""
    of_pod = pod.spec.security_context.app_armor_profile if pod.spec.security_context is not None else None
    own = container.security_context.app_armor_profile if container.security_context is not None else None
    found = own or of_pod
    if found is None:
        return pod.metadata.annotations.get(f"{ANNOTATION}{container.name}", "")
    match found.type:
        case "Localhost":
            return f"{_LOCALHOST}{found.localhost_profile or ''}"
        case "RuntimeDefault":
            return _RUNTIME
        case _:
            return _NONE


def is_confined(pod: Pod, container: Container | EphemeralContainer) -> bool:
    """Return whether a container asks for a profile that somebody has to enforce."""
    return profile_of(pod, container) not in ("", _NONE)


def security_profile(profile: str) -> pb.SecurityProfile | None:
    """Return what the runtime is told of a profile; None where it may choose."""
    if not profile:
        return None
    if profile.startswith(_LOCALHOST):
        reference = profile.removeprefix(_LOCALHOST)
        return pb.SecurityProfile(profile_type=pb.SecurityProfile.Localhost, localhost_ref=reference)
    kind = pb.SecurityProfile.RuntimeDefault if profile == _RUNTIME else pb.SecurityProfile.Unconfined
    return pb.SecurityProfile(profile_type=kind)
