"""serviceaccounts/token: a signed token for an account, for so long and so many, bound to a pod, node or secret.

`kubectl create token` and every kubelet (for the volume that each pod has) ask for these. The answer is the request
with its status filled in; nothing is stored. API: TokenRequest of authentication.k8s.io/v1, KEP-1205.
"""

from __future__ import annotations

import uuid
from dataclasses import replace
from random import Random
from typing import Any, Final

import msgspec

from api import timestamps
from api.authentication import tokenrequest
from api.authentication.tokenrequest import BoundObjectReference
from api.core import node, pod, secret, serviceaccount
from api.errors import BadRequest, Cause, Conflict, Invalid, NotFound
from api.resource import ObjectKey, Resource
from apiserver.auth.tokens import Bound, Claims, Read, TokenIssuer
from apiserver.request import AdmissionPlugin, Answer, Call
from apiserver.verbs import writing
from component.clock import Clock

EXPIRATION_S: Final = 3600
EXPIRATION_S_MIN: Final = 600
EXPIRATION_S_MAX: Final = 1 << 32
"""Longer than anybody means; the certificate of the issuer would not last as long."""

_BINDABLE: Final[dict[str, Resource[Any]]] = {
    "Pod": pod.RESOURCE,
    "Secret": secret.RESOURCE,
    "Node": node.RESOURCE,
}


class TokenHandler:
    """Creates tokens."""

    def __init__(
        self, issuer: TokenIssuer, read: Read, admission: AdmissionPlugin, clock: Clock, random: Random
    ) -> None:
        self._issuer = issuer
        self._read = read
        self._admission = admission
        self._clock = clock
        self._random = random

    async def __call__(self, call: Call) -> Answer:
        """Sign what the call's TokenRequest asks for.

        Raises:
            NotFound: no such account, or no such object to bind to.
            Invalid, BadRequest, Conflict: an impossible expiry or binding.
            Forbidden: a node asks for a pod that it does not run.
        """
        wanted: Any = writing.decode_body(call, tokenrequest.RESOURCE)
        writing.place(call, serviceaccount.RESOURCE, wanted)
        writing.take_name(call, wanted)
        spec = wanted.spec
        spec.audiences = spec.audiences or list(self._issuer.audiences)
        if spec.expiration_seconds is None:
            spec.expiration_seconds = EXPIRATION_S
        request = writing.admission_request(call, serviceaccount.RESOURCE, "CREATE", wanted, None)
        await self._admission.admit(request)
        wanted = request.object
        spec = wanted.spec
        _check_expiration(call.info.name, spec.expiration_seconds)
        await self._admission.validate(request)
        account = await self._read(serviceaccount.RESOURCE, ObjectKey(call.info.namespace, call.info.name))
        now = self._clock.now()
        expires_s = int(now) + spec.expiration_seconds
        claims = Claims(
            namespace=call.info.namespace,
            account=Bound(call.info.name, account.metadata.uid),
            audiences=tuple(spec.audiences),
            not_before_s=int(now),
            expires_s=expires_s,
            token_id=str(uuid.UUID(int=self._random.getrandbits(128), version=4)),
        )
        if spec.bound_object_ref is not None:
            claims = await self._bind(claims, spec.bound_object_ref)
        wanted.metadata.creation_timestamp = timestamps.render(now)
        wanted.status.token = self._issuer.sign(claims, int(now))
        wanted.status.expiration_timestamp = timestamps.render(expires_s)
        return Answer(msgspec.json.encode(wanted), code=201)

    async def _bind(self, claims: Claims, ref: BoundObjectReference) -> Claims:
        resource = _BINDABLE.get(ref.kind) if ref.api_version == "v1" else None
        if resource is None:
            raise BadRequest(f"cannot bind token to object of type {ref.api_version}, Kind={ref.kind}")
        namespace = claims.namespace if resource.namespaced else ""
        found = await self._read(resource, ObjectKey(namespace, ref.name))
        uid: str = found.metadata.uid
        if ref.uid and ref.uid != uid:
            raise Conflict(
                f'Operation cannot be fulfilled on {resource} "{ref.name}": the UID in the bound object reference '
                f"({ref.uid}) does not match the UID in record. The object might have been deleted and then recreated",
                kind=resource.plural,
                name=ref.name,
            )
        bound = Bound(ref.name, uid)
        if resource is secret.RESOURCE:
            return replace(claims, secret=bound)
        if resource is node.RESOURCE:
            return replace(claims, node=bound)
        if (found.spec.service_account_name or "default") != claims.account.name:
            raise BadRequest(
                f'cannot bind token for serviceaccount "{claims.account.name}" to pod running with different '
                "serviceaccount name."
            )
        return replace(claims, pod=bound, node=await self._node_of(found))

    async def _node_of(self, found: pod.Pod) -> Bound | None:
        name = found.spec.node_name
        if not name:
            return None
        try:
            return Bound(name, (await self._read(node.RESOURCE, ObjectKey("", name))).metadata.uid)
        except NotFound:
            return Bound(name, "")


def _check_expiration(name: str, seconds: int) -> None:
    why = ""
    if seconds < EXPIRATION_S_MIN:
        why = f"Invalid value: {seconds}: may not specify a duration less than 10 minutes"
    elif seconds > EXPIRATION_S_MAX:
        why = f"Invalid value: {seconds}: may not specify a duration larger than 2^32 seconds"
    if why:
        kind, path = tokenrequest.RESOURCE.kind, "spec.expirationSeconds"
        raise Invalid(
            f'{kind}.{tokenrequest.RESOURCE.group} "{name}" is invalid: {path}: {why}',
            group=tokenrequest.RESOURCE.group,
            kind=kind,
            name=name,
            causes=[Cause("FieldValueInvalid", why, path)],
        )
