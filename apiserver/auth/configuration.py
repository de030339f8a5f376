"""AuthenticationConfiguration: which providers' tokens are believed, how claims become users, and who needs no name.

    apiVersion: apiserver.config.k8s.io/v1beta1
    kind: AuthenticationConfiguration
    jwt:
    - issuer: {url: "https://id.example.org", audiences: [cluster]}
      claimMappings:
        username: {expression: "claims.sub + '@id'"}
        groups: {claim: teams, prefix: ""}
      userValidationRules:
      - {expression: "!user.username.startsWith('system:')", message: that name is taken}
    anonymous:
      enabled: true
      conditions: [{path: /livez}]

What is wrong is said with its place in the file. Pure; the file is followed by `apiserver.auth.configured`. Fields and
rules: KEP-3331 and KEP-4633, "kube-apiserver Configuration (v1beta1)" of the documentation.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import jwt
import msgspec

from apiserver import configuration_file
from apiserver.auth.certificates import AUTHENTICATED
from apiserver.auth.oidc import BadSettings, Issuer
from apiserver.cel.program import BadProgram, CostExceeded, Program, compile_
from apiserver.cel.values import Failure
from apiserver.request import User

_API_VERSIONS: Final = ("apiserver.config.k8s.io/v1beta1", "apiserver.config.k8s.io/v1alpha1")
_KIND: Final = "AuthenticationConfiguration"
_ISSUERS_MAX: Final = 64
_EXTRA_KEY: Final = re.compile(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?/[a-z0-9/._~!$&'()*+,;:@%-]+")
_OWN_DOMAINS: Final = ("k8s.io", "kubernetes.io")
_EMAIL: Final = re.compile(r"\bclaims\s*\.\s*\??\s*email\b")
_VERIFIED: Final = re.compile(r"\bclaims\s*\.\s*\??\s*email_verified\b")

Claims = Mapping[str, Any]


class BadConfiguration(BadSettings):
    """A configuration that cannot be used; says what is wrong with it, and where."""


class _Struct(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    pass


class _Issuer(_Struct):
    url: str = ""
    discovery_url: str = msgspec.field(default="", name="discoveryURL")
    certificate_authority: str = ""
    audiences: list[str] = []
    audience_match_policy: Literal["", "MatchAny"] = ""


class _ClaimRule(_Struct):
    claim: str = ""
    required_value: str = ""
    expression: str = ""
    message: str = ""


class _Prefixed(_Struct):
    claim: str = ""
    prefix: str | None = None
    expression: str = ""


class _Uid(_Struct):
    claim: str = ""
    expression: str = ""


class _Extra(_Struct):
    key: str = ""
    value_expression: str = ""


class _Mappings(_Struct):
    username: _Prefixed = msgspec.field(default_factory=_Prefixed)
    groups: _Prefixed = msgspec.field(default_factory=_Prefixed)
    uid: _Uid = msgspec.field(default_factory=_Uid)
    extra: list[_Extra] = []


class _UserRule(_Struct):
    expression: str = ""
    message: str = ""


class _Jwt(_Struct):
    issuer: _Issuer = msgspec.field(default_factory=_Issuer)
    claim_validation_rules: list[_ClaimRule] = []
    claim_mappings: _Mappings = msgspec.field(default_factory=_Mappings)
    user_validation_rules: list[_UserRule] = []


class _Condition(_Struct):
    path: str = ""


class _Anonymous(_Struct):
    enabled: bool = False
    conditions: list[_Condition] = []


class _File(_Struct):
    api_version: str = ""
    kind: str = ""
    jwt: list[_Jwt] = []
    anonymous: _Anonymous | None = None


@dataclass(frozen=True, slots=True)
class Anonymous:
    """Who may ask without saying who they are."""

    is_allowed: bool = True
    paths: frozenset[str] | None = None
    """Only there; None: everywhere."""

    def may(self, path: str) -> bool:
        """Whether a request for `path` need not say who sends it."""
        return self.is_allowed and (self.paths is None or path in self.paths)


@dataclass(frozen=True, slots=True)
class Configuration:
    """What a file says."""

    issuers: tuple[Issuer, ...] = ()
    anonymous: Anonymous | None = None
    """None: the file does not say."""


def parse(text: bytes) -> Configuration:
    """Return the configuration in a YAML or JSON file.

    Raises:
        BadConfiguration: it cannot be used.
    """
    try:
        found = configuration_file.read(text, _File, _API_VERSIONS, _KIND)
    except configuration_file.BadFile as error:
        raise BadConfiguration(str(error)) from None
    if len(found.jwt) > _ISSUERS_MAX:
        raise BadConfiguration(f"jwt: must have at most {_ISSUERS_MAX} items")
    issuers = tuple(_issuer(each, f"jwt[{place}]") for place, each in enumerate(found.jwt))
    for what, taken in (
        ("url", [one.url for one in issuers]),
        ("discoveryURL", [one.discovery_url for one in issuers]),
    ):
        for place, value in enumerate(taken):
            if value and value in taken[:place]:
                raise BadConfiguration(f"jwt[{place}].issuer.{what}: {value} is another issuer's already")
    return Configuration(issuers, _anonymous(found.anonymous))


def _anonymous(given: _Anonymous | None) -> Anonymous | None:
    if given is None:
        return None
    if given.conditions and not given.enabled:
        raise BadConfiguration("anonymous.conditions: enabled must be set to true when conditions are given")
    for place, each in enumerate(given.conditions):
        if not each.path:
            raise BadConfiguration(f"anonymous.conditions[{place}].path: a path is needed")
    paths = frozenset(each.path for each in given.conditions) if given.conditions else None
    return Anonymous(given.enabled, paths)


def _issuer(given: _Jwt, where: str) -> Issuer:
    issuer, at = given.issuer, f"{where}.issuer"
    _check_url(issuer.url, f"{at}.url")
    if issuer.discovery_url:
        _check_url(issuer.discovery_url, f"{at}.discoveryURL")
        if issuer.discovery_url.rstrip("/") == issuer.url.rstrip("/"):
            raise BadConfiguration(f"{at}.discoveryURL: must be another than url")
    if not issuer.audiences or not all(issuer.audiences):
        raise BadConfiguration(f"{at}.audiences: at least one is needed, and none may be empty")
    if len(set(issuer.audiences)) < len(issuer.audiences):
        raise BadConfiguration(f"{at}.audiences: one is there twice")
    if len(issuer.audiences) > 1 and issuer.audience_match_policy != "MatchAny":
        raise BadConfiguration(f"{at}.audienceMatchPolicy: must be MatchAny for multiple audiences")
    if issuer.certificate_authority:
        try:
            ssl.create_default_context(cadata=issuer.certificate_authority)
        except (ssl.SSLError, ValueError):
            raise BadConfiguration(f"{at}.certificateAuthority: is no certificate in PEM") from None
    return Issuer(
        issuer.url,
        tuple(issuer.audiences),
        _Mapping(given, where).user_of,
        discovery_url=issuer.discovery_url,
        ca_data=issuer.certificate_authority,
    )


def _check_url(url: str, where: str) -> None:
    if not url.startswith("https://") or len(url) == len("https://"):
        raise BadConfiguration(f"{where}: {url!r} must be a URL that begins with https://")
    for mark, what in (("@", "a user or password"), ("?", "a query"), ("#", "a fragment")):
        if mark in url:
            raise BadConfiguration(f"{where}: {url!r} must have no {what}")


class _Mapping:
    """How one provider's claims become users."""

    def __init__(self, given: _Jwt, where: str) -> None:
        """Compile what it consists of.

        Raises:
            BadConfiguration: it cannot be used.
        """
        mappings, at = given.claim_mappings, f"{where}.claimMappings"
        self._checks = [
            _claim_check(rule, f"{where}.claimValidationRules[{place}]")
            for place, rule in enumerate(given.claim_validation_rules)
        ]
        username = mappings.username
        if not username.claim and not username.expression:
            raise BadConfiguration(f"{at}.username: claim or expression is needed")
        self._username = _reader(username, f"{at}.username")
        self._groups = _reader(mappings.groups, f"{at}.groups")
        uid = _Prefixed(mappings.uid.claim, "" if mappings.uid.claim else None, mappings.uid.expression)
        self._uid = _reader(uid, f"{at}.uid")
        self._is_mail = username.claim == "email"
        self._extra = {each.key: _program(each.value_expression, f"{at}.extra[{place}].valueExpression", "claims")
                       for place, each in enumerate(_checked(mappings.extra, f"{at}.extra"))}  # fmt: skip
        elsewhere = [each.value_expression for each in mappings.extra]
        elsewhere += [each.expression for each in given.claim_validation_rules]
        if _EMAIL.search(username.expression) and not any(map(_VERIFIED.search, (username.expression, *elsewhere))):
            raise BadConfiguration(
                f"{at}.username.expression: claims.email_verified must be used in it, in extra[*].valueExpression or "
                "in claimValidationRules[*].expression where claims.email is used"
            )
        self._rules = [
            (_program(rule.expression, f"{where}.userValidationRules[{place}].expression", "user"), rule.message)
            for place, rule in enumerate(given.user_validation_rules)
        ]

    def user_of(self, claims: Claims) -> User:
        """Return the user that claims name.

        Raises:
            jwt.InvalidTokenError: they name none that is welcome.
        """
        for check in self._checks:
            check(claims)
        if self._is_mail and claims.get("email_verified", True) is not True:
            raise jwt.InvalidTokenError("the email address is not verified")
        name = self._username(claims)
        if not isinstance(name, str) or not name:
            raise jwt.InvalidTokenError("the claims give no username")
        uid = self._uid(claims)
        if uid is not None and not isinstance(uid, str):
            raise jwt.InvalidTokenError("the uid is no text")
        groups = _texts(self._groups(claims), "groups")
        extra = {key: _texts(_value(program, "claims", claims), f"extra {key}") for key, program in self._extra.items()}
        extra = {key: values for key, values in extra.items() if values}
        seen = {"username": name, "uid": uid or "", "groups": list(groups),
                "extra": {key: list(values) for key, values in extra.items()}}  # fmt: skip
        for program, message in self._rules:
            if _value(program, "user", seen) is not True:
                raise jwt.InvalidTokenError(message or f"the user does not satisfy {program.text!r}")
        return User(name, uid=uid or "", groups=(*dict.fromkeys([*groups, AUTHENTICATED]),), extra=extra)


def _checked(extra: Sequence[_Extra], where: str) -> Iterable[_Extra]:
    keys: set[str] = set()
    for place, each in enumerate(extra):
        domain = each.key.partition("/")[0]
        if not _EXTRA_KEY.fullmatch(each.key):
            raise BadConfiguration(f"{where}[{place}].key: {each.key!r} must be DOMAIN/PATH, without capital letters")
        if any(domain == own or domain.endswith("." + own) for own in _OWN_DOMAINS):
            raise BadConfiguration(f"{where}[{place}].key: {domain} is reserved for Kubernetes")
        if each.key in keys:
            raise BadConfiguration(f"{where}[{place}].key: {each.key!r} is there twice")
        keys.add(each.key)
        yield each


def _claim_check(rule: _ClaimRule, where: str) -> Callable[[Claims], None]:
    if bool(rule.claim) == bool(rule.expression):
        raise BadConfiguration(f"{where}: either claim or expression is needed, and not both")
    if rule.claim:
        if rule.message:
            raise BadConfiguration(f"{where}.message: is said with an expression only")

        def holds(claims: Claims) -> None:
            if claims.get(rule.claim) != rule.required_value:
                raise jwt.InvalidTokenError(f"the claim {rule.claim!r} is not {rule.required_value!r}")

        return holds
    if rule.required_value:
        raise BadConfiguration(f"{where}.requiredValue: goes with a claim only")
    program = _program(rule.expression, f"{where}.expression", "claims")

    def satisfies(claims: Claims) -> None:
        if _value(program, "claims", claims) is not True:
            raise jwt.InvalidTokenError(rule.message or f"the claims do not satisfy {program.text!r}")

    return satisfies


def _reader(given: _Prefixed, where: str) -> Callable[[Claims], Any]:
    """Return what finds a value among claims: text, a list, or nothing."""
    if given.claim and given.expression:
        raise BadConfiguration(f"{where}: claim and expression can't both be set")
    if given.expression:
        if given.prefix is not None:
            raise BadConfiguration(f"{where}.prefix: can't be set with an expression")
        program = _program(given.expression, f"{where}.expression", "claims")
        return lambda claims: _value(program, "claims", claims)
    if not given.claim:
        if given.prefix:
            raise BadConfiguration(f"{where}.prefix: goes with a claim only")
        return lambda claims: None
    prefix = given.prefix
    if prefix is None:
        raise BadConfiguration(f'{where}.prefix: is needed with a claim; it may be ""')

    def read(claims: Claims) -> Any:
        value = claims.get(given.claim)
        if isinstance(value, list):
            return [prefix + each if isinstance(each, str) else each for each in value]
        return prefix + value if isinstance(value, str) else value

    return read


def _program(text: str, where: str, name: str) -> Program:
    if not text:
        raise BadConfiguration(f"{where}: an expression is needed")
    try:
        return compile_(text, frozenset({name}))
    except BadProgram as error:
        raise BadConfiguration(f"{where}: compilation failed: {error}") from None


def _value(program: Program, name: str, of: Any) -> Any:
    try:
        return program.evaluate({name: of})[0]
    except (Failure, CostExceeded) as failure:
        raise jwt.InvalidTokenError(f"{program.text!r} has no value: {failure or 'it costs too much'}") from None


def _texts(value: Any, what: str) -> tuple[str, ...]:
    """Return a text, or a list of them, as a tuple; nothing and empty text are none."""
    if value is None or value == "":
        return ()
    found = [value] if isinstance(value, str) else value
    if not isinstance(found, list) or not all(isinstance(each, str) for each in found):
        raise jwt.InvalidTokenError(f"the {what} are no list of texts")
    return tuple(each for each in found if each)
