"""CertificateSigningRequest: asks a signer for a certificate; somebody approves or denies, then the signer acts.

Who asks is written into the request by the server. `approval` changes the conditions Approved and Denied only,
`status` everything else that is observed.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Final

import msgspec

from api import names, timestamps
from api import validation as v
from api.certificates.reading import read_certificates, read_request
from api.columns import AGE, NONE
from api.go_types import octets
from api.meta import KindCondition, ObjectMeta
from api.resource import Column, Resource
from api.schema import Int32, Struct, Time, always, field, wire

if TYPE_CHECKING:
    from cryptography import x509

_USAGES: Final = (
    "any",
    "cert sign",
    "client auth",
    "code signing",
    "content commitment",
    "crl sign",
    "data encipherment",
    "decipher only",
    "digital signature",
    "email protection",
    "encipher only",
    "ipsec end system",
    "ipsec tunnel",
    "ipsec user",
    "key agreement",
    "key encipherment",
    "microsoft sgc",
    "netscape sgc",
    "ocsp signing",
    "s/mime",
    "server auth",
    "signing",
    "timestamping",
)
_DECISIONS: Final = ("Approved", "Denied")
_DOMAIN_LENGTH_MAX: Final = 253
_SIGNER_LENGTH_MAX: Final = 571
_LIFETIME_S_MIN: Final = 600
_LEGACY_SIGNER: Final = "kubernetes.io/legacy-unknown"


class CertificateSigningRequestCondition(KindCondition):
    """A decision about a request, or that it could not be signed; once made it stays.

    Attributes:
        type: Approved, Denied or Failed; there is one of each at most, and Approved and Denied exclude each other.
        status: The answer; always True for these types.
        last_update_time: When the condition was last written.
    """

    status: Annotated[str, wire(6, required=True)] = always("")
    reason: Annotated[str, wire(2)] = ""
    message: Annotated[str, wire(3)] = ""
    last_update_time: Annotated[Time, wire(4)] = ""
    last_transition_time: Annotated[Time, wire(5)] = ""


class CertificateSigningRequestStatus(Struct):
    """What was decided, and the certificate once it is signed.

    Attributes:
        conditions: Approved, Denied, Failed. They are set through the subresources approval and status and never taken
            away.
        certificate: The certificate and those that lead to its root, in PEM form; empty until it is signed. Never
            changes then.
    """

    conditions: Annotated[list[CertificateSigningRequestCondition], wire(1, list_type="map", list_keys=("type",))] = []
    certificate: Annotated[bytes, wire(2, list_type="atomic")] = b""


class CertificateSigningRequestSpec(Struct):
    """What certificate is asked for, and by whom. Never changes.

    Attributes:
        request: The request (PKCS#10) in PEM form.
        signer_name: Who shall sign, such as kubernetes.io/kube-apiserver-client; what is granted is up to the signer.
        expiration_seconds: For how many seconds the certificate is wanted, 600 at least; the signer may shorten it.
            Unset, the signer chooses.
        usages: What the key may be used for, such as client auth, digital signature, key encipherment.
        username: Who asks; set by the server.
        uid: That user's uid; set by the server.
        groups: That user's groups; set by the server.
        extra: What else is known of that user; set by the server.
    """

    request: Annotated[bytes, wire(1, required=True, list_type="atomic")] = b""
    signer_name: Annotated[str, wire(7, required=True)] = always("")
    expiration_seconds: Annotated[Int32 | None, wire(8)] = None
    usages: Annotated[list[str], wire(5, list_type="atomic")] = []
    username: Annotated[str, wire(2)] = ""
    uid: Annotated[str, wire(3)] = ""
    groups: Annotated[list[str], wire(4, list_type="atomic")] = []
    extra: Annotated[dict[str, list[str]], wire(6)] = {}


class CertificateSigningRequest(Struct):
    """Asks a signer for a certificate; somebody must approve first. Deleted some time after its end."""

    api_version: str = always("certificates.k8s.io/v1")
    kind: str = always("CertificateSigningRequest")
    metadata: Annotated[ObjectMeta, wire(1)] = field(default_factory=ObjectMeta)
    spec: Annotated[CertificateSigningRequestSpec, wire(2, required=True)] = field(
        default_factory=CertificateSigningRequestSpec
    )
    status: Annotated[CertificateSigningRequestStatus, wire(3)] = field(default_factory=CertificateSigningRequestStatus)


def default(request: CertificateSigningRequest) -> None:
    """A condition that says nothing else is true."""
    for condition in request.status.conditions:
        condition.status = condition.status or "True"


def validate(new: CertificateSigningRequest, old: CertificateSigningRequest | None) -> v.Errors:
    """Check what is asked for; an update leaves the decision and the certificate alone."""
    if old is None:
        yield from _check_request(new)
        yield from _check_conditions(new)
    else:
        yield from _check_update(new, old)


def validate_status(new: CertificateSigningRequest, old: CertificateSigningRequest) -> v.Errors:
    """Check what the signer says: it does not decide, and does not change a certificate once issued."""
    yield from _check_update(new, old, may_issue=True)


def validate_approval(new: CertificateSigningRequest, old: CertificateSigningRequest) -> v.Errors:
    """Check a decision."""
    yield from _check_update(new, old, may_decide=True)


def _check_update(
    new: CertificateSigningRequest, old: CertificateSigningRequest, *, may_issue: bool = False, may_decide: bool = False
) -> v.Errors:
    """Check everything, but for what was wrong before: such an object could never be written again."""
    yield from _check_request(new, old)
    yield from _check_conditions(new, old)
    certificate, issued = new.status.certificate, old.status.certificate
    why = _what_is_wrong(certificate) if certificate != issued and not (issued and _what_is_wrong(issued)) else ""
    if why:
        yield v.invalid("status.certificate", "<certificate data>", why)
    for type_ in (*_DECISIONS, "Failed"):
        if len(_of_type(new, type_)) < len(_of_type(old, type_)):
            yield v.forbidden("status.conditions", f'updates may not remove a condition of type "{type_}"')
    for type_ in () if may_decide else _DECISIONS:
        now, before = _of_type(new, type_), _of_type(old, type_)
        if len(now) > len(before):
            yield v.forbidden("status.conditions", f'updates may not add a condition of type "{type_}"')
        elif len(now) == len(before) and now != before:
            yield v.forbidden("status.conditions", f'updates may not modify a condition of type "{type_}"')
    if certificate != issued and not may_issue:
        yield v.forbidden("status.certificate", "updates may not set certificate content")
    elif certificate != issued and issued:
        yield v.forbidden("status.certificate", "updates may not modify existing certificate content")


def _of_type(request: CertificateSigningRequest, type_: str) -> list[CertificateSigningRequestCondition]:
    return [condition for condition in request.status.conditions if condition.type == type_]


def is_signed(request: x509.CertificateSigningRequest) -> bool:
    """Whether a request is signed by the key that it is for, with SHA-1 too: upstream takes it here.

    What is signed in a way, or by a kind of key, that is not known here is signed by nobody.
    """
    from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

    try:
        if request.is_signature_valid:
            return True
        key, digest, padding = (
            request.public_key(),
            request.signature_hash_algorithm,
            request.signature_algorithm_parameters,
        )
    except UnsupportedAlgorithm:
        return False
    if not isinstance(key, RSAPublicKey) or digest is None or not isinstance(padding, PKCS1v15):
        return False
    try:
        key.verify(request.signature, request.tbs_certrequest_bytes, padding, digest)
    except (InvalidSignature, UnsupportedAlgorithm):
        return False
    return True


def _check_request(new: CertificateSigningRequest, old: CertificateSigningRequest | None = None) -> v.Errors:
    """Check what is asked for."""
    spec, before = new.spec, old.spec if old is not None else CertificateSigningRequestSpec()
    try:
        if not is_signed(read_request(spec.request)):
            yield v.invalid("spec.request", octets(spec.request), "verification error")
    except ValueError:
        yield v.invalid("spec.request", octets(spec.request), "PEM block type must be CERTIFICATE REQUEST")
    if not spec.usages:
        yield v.required("spec.usages", "usages must be provided")
    if set(before.usages) <= set(_USAGES):
        for i, usage in enumerate(spec.usages):
            if usage not in _USAGES:
                yield v.not_supported(f"spec.usages[{i}]", usage, _USAGES)
    if len(set(before.usages)) == len(before.usages):
        for i, usage in enumerate(spec.usages):
            if usage in spec.usages[:i]:
                yield v.duplicate(f"spec.usages[{i}]", usage)
    if spec.signer_name == _LEGACY_SIGNER != before.signer_name:
        yield v.invalid(
            "spec.signerName", spec.signer_name, "the legacy signerName is not allowed via this API version"
        )
    else:
        yield from _check_signer("spec.signerName", spec.signer_name)
    if spec.expiration_seconds is not None and spec.expiration_seconds < _LIFETIME_S_MIN:
        yield v.invalid(
            "spec.expirationSeconds",
            spec.expiration_seconds,
            "may not specify a duration less than 600 seconds (10 minutes)",
        )


def _what_is_wrong(pem: bytes) -> str:
    """Return what is wrong with an issued certificate; empty if nothing is."""
    for kind in re.findall(rb"-----BEGIN ([^-]*)-----", pem):
        if kind != b"CERTIFICATE":
            return f'only CERTIFICATE PEM blocks are allowed, found "{kind.decode(errors="replace")}"'
    try:
        read_certificates(pem)
    except ValueError as error:
        return str(error) if b"-----BEGIN" in pem else "must contain at least one CERTIFICATE PEM block"
    return ""


def _check_signer(path: str, signer: str) -> v.Errors:
    if not signer:
        yield v.required(path, "signerName must be provided")
        return
    if signer.count("/") != 1:
        yield v.invalid(path, signer, "must be a fully qualified domain and path of the form 'example.com/signer-name'")
        return
    domain, _, rest = signer.partition("/")
    if len(domain) > _DOMAIN_LENGTH_MAX:
        yield v.too_long(path, _DOMAIN_LENGTH_MAX)
    yield from _check_parts(path, domain, names.check_label)
    if "." not in domain:
        yield v.invalid(path, domain, "should be a domain with at least two segments separated by dots")
    yield from _check_parts(path, rest, names.check_subdomain)
    if len(signer) > _SIGNER_LENGTH_MAX:
        yield v.too_long(path, _SIGNER_LENGTH_MAX)


def _check_parts(path: str, text: str, check: v.NameCheck) -> v.Errors:
    """Check what stands between the dots, up to the first that is wrong."""
    for part in text.split("."):
        wrong = check(part)
        for message in wrong:
            yield v.invalid(path, text, f'validating label "{part}": {message}')
        if wrong:
            return


def _check_conditions(request: CertificateSigningRequest, old: CertificateSigningRequest | None = None) -> v.Errors:
    before = [condition.type for condition in old.status.conditions] if old is not None else []
    may_be_both, may_repeat = set(before).issuperset(_DECISIONS), len(set(before)) < len(before)
    seen: set[str] = set()
    for i, condition in enumerate(request.status.conditions):
        where = f"status.conditions[{i}]"
        if not condition.type and "" not in before:
            yield v.required(f"{where}.type")
        statuses = ("True",) if condition.type in (*_DECISIONS, "Failed") else ("False", "True", "Unknown")
        yield from v.check_supported(f"{where}.status", condition.status, statuses)
        others = {type_ for type_ in _DECISIONS if type_ != condition.type}
        if condition.type in _DECISIONS and seen & others and not may_be_both:
            why = "Approved and Denied conditions are mutually exclusive"
            yield v.invalid(f"{where}.type", condition.type, why)
        if condition.type in seen and not may_repeat:
            yield v.duplicate(f"{where}.type", condition.type)
        seen.add(condition.type)


def prepare_for_update(new: CertificateSigningRequest, old: CertificateSigningRequest) -> None:
    """Keep the request, which never changes, and what became of it."""
    new.spec = old.spec
    new.status = old.status


def prepare_for_status_update(new: CertificateSigningRequest, old: CertificateSigningRequest) -> None:
    """Keep the spec, and the decision as it was worded; to make one or take it back is refused by `validate_status`."""
    new.spec = old.spec
    for type_ in _DECISIONS:
        kept = _of_type(old, type_)
        if len(kept) == len(_of_type(new, type_)):
            put_back = iter(kept)
            new.status.conditions = [
                next(put_back) if condition.type == type_ else condition for condition in new.status.conditions
            ]


def prepare_for_approval(new: CertificateSigningRequest, old: CertificateSigningRequest) -> None:
    """Keep all but the conditions, of which the decision is one."""
    new.spec = old.spec
    new.status = msgspec.structs.replace(old.status, conditions=new.status.conditions)


def note_times(new: CertificateSigningRequest, old: CertificateSigningRequest, now: float) -> None:
    """Say when conditions were written and when they came to be so, where whoever wrote them does not."""
    stamp = timestamps.render(now)
    since = {(each.type, each.status): each.last_transition_time for each in old.status.conditions}
    for condition in new.status.conditions:
        condition.last_update_time = condition.last_update_time or stamp
        if not condition.last_transition_time:
            condition.last_transition_time = since.get((condition.type, condition.status)) or stamp


def _duration(request: CertificateSigningRequest, now: float) -> str:
    seconds = request.spec.expiration_seconds
    return NONE if seconds is None else timestamps.human_duration(seconds)


def _condition(request: CertificateSigningRequest, now: float) -> str:
    given = {condition.type for condition in request.status.conditions}
    shown = "Approved" if "Approved" in given else "Denied" if "Denied" in given else "Pending"
    if "Failed" in given:
        shown += ",Failed"
    return f"{shown},Issued" if request.status.certificate else shown


RESOURCE: Final[Resource[CertificateSigningRequest]] = Resource(
    type=CertificateSigningRequest,
    group="certificates.k8s.io",
    version="v1",
    kind="CertificateSigningRequest",
    plural="certificatesigningrequests",
    namespaced=False,
    short_names=("csr",),
    check_name=names.check_path_segment,
    subresources=("approval", "status"),
    default=default,
    validate=validate,
    prepare_for_update=prepare_for_update,
    prepare_for_status_update=prepare_for_status_update,
    validate_status=validate_status,
    validate_subresource={"approval": validate_approval},
    columns=(
        AGE,
        Column("SignerName", "string", lambda csr, now: csr.spec.signer_name, "Who is asked to sign."),
        Column("Requestor", "string", lambda csr, now: csr.spec.username, "Who asks."),
        Column("RequestedDuration", "string", _duration, "How long the certificate shall be good."),
        Column("Condition", "string", _condition, "What was decided, and whether it is issued."),
    ),
    selectable_fields={"spec.signerName": lambda csr: csr.spec.signer_name},
)
