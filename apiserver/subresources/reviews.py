"""Reviews: questions about who somebody is and what somebody may do. Each has an answer; none is stored.

    SelfSubjectAccessReview    may I?                    kubectl auth can-i
    SelfSubjectRulesReview     what may I, here?         kubectl auth can-i --list
    SubjectAccessReview        may they?                 asked by servers that leave authorization to this one
    LocalSubjectAccessReview   may they, here?           the same, where one may ask about one namespace only
    SelfSubjectReview          who am I?                 kubectl auth whoami
    TokenReview                whose token is this?      asked by servers that leave authentication to this one

Answers come from the authorizer that every request meets, and from the authenticator of tokens. API groups:
authorization.k8s.io/v1, authentication.k8s.io/v1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from api import timestamps, validation
from api.authentication import selfsubjectreview, tokenreview
from api.authentication.selfsubjectreview import SelfSubjectReview
from api.authentication.tokenreview import TokenReview, TokenReviewStatus, UserInfo
from api.authorization import (
    localsubjectaccessreview,
    selfsubjectaccessreview,
    selfsubjectrulesreview,
    subjectaccessreview,
)
from api.authorization.localsubjectaccessreview import LocalSubjectAccessReview
from api.authorization.selfsubjectaccessreview import (
    FieldSelectorAttributes,
    LabelSelectorAttributes,
    Question,
    SelfSubjectAccessReview,
    SubjectAccessReviewStatus,
)
from api.authorization.selfsubjectrulesreview import (
    NonResourceRule,
    ResourceRule,
    SelfSubjectRulesReview,
    SubjectRulesReviewStatus,
)
from api.authorization.subjectaccessreview import SubjectAccessReview, SubjectAccessReviewSpec
from api.errors import Unauthorized
from api.rbac.rules import PolicyRule
from api.resource import Resource
from api.selectors import FieldSelector, FieldTerm
from apiserver.auth.tokens import TokenAuthenticator
from apiserver.request import (
    AdmissionPlugin,
    Answer,
    Authenticator,
    Authorizer,
    Call,
    Credentials,
    RequestInfo,
    RuleSource,
    User,
    decided,
)
from apiserver.verbs import writing
from component.clock import Clock


class _Reviews:
    """Takes in reviews: like every object that is created they pass admission, where webhooks may see and change them.

    Args:
        admission: whom they pass; None lets them all by.
    """

    def __init__(self, admission: AdmissionPlugin | None) -> None:
        self._admission = admission

    async def _decode(self, call: Call, resource: Resource[Any]) -> Any:
        review = writing.decode_body(call, resource)
        writing.place(call, resource, review)
        request = writing.admission_request(call, resource, "CREATE", review, None)
        if self._admission is not None:
            await self._admission.admit(request)
            review = request.object
        errors = list(resource.validate(review, None))
        if errors:
            raise validation.refuse(resource, review, errors)
        if self._admission is not None:
            await self._admission.validate(request)
        return review


class AccessReviewHandler(_Reviews):
    """Asks the authorizer on behalf of whoever calls: SelfSubjectAccessReview."""

    def __init__(self, authorizer: Authorizer, admission: AdmissionPlugin | None = None) -> None:
        super().__init__(admission)
        self._authorizer = authorizer

    async def __call__(self, call: Call) -> Answer:
        """Answer the review in the call's body.

        Raises:
            Invalid: it asks about neither a resource nor a path, or about both.
        """
        review: SelfSubjectAccessReview = await self._decode(call, selfsubjectaccessreview.RESOURCE)
        review.status = await _decide(self._authorizer, call.user, review.spec)
        return _answer(review)


class SubjectAccessReviewHandler(_Reviews):
    """Asks the authorizer about somebody else, anywhere or in the namespace of the path."""

    def __init__(self, authorizer: Authorizer, admission: AdmissionPlugin | None = None, *, is_local: bool) -> None:
        super().__init__(admission)
        self._authorizer = authorizer
        self._resource: Resource[Any] = localsubjectaccessreview.RESOURCE if is_local else subjectaccessreview.RESOURCE

    async def __call__(self, call: Call) -> Answer:
        """Answer the review in the call's body.

        Raises:
            Invalid: it is about nobody, about nothing, or about another namespace.
        """
        review: SubjectAccessReview | LocalSubjectAccessReview = await self._decode(call, self._resource)
        review.status = await _decide(self._authorizer, _subject(review.spec), review.spec)
        return _answer(review)


class RulesReviewHandler(_Reviews):
    """Lists what whoever calls may do in a namespace."""

    def __init__(self, rules: RuleSource, admission: AdmissionPlugin | None = None) -> None:
        super().__init__(admission)
        self._rules = rules

    async def __call__(self, call: Call) -> Answer:
        """Answer the review in the call's body.

        Raises:
            Invalid: it names no namespace.
        """
        review: SelfSubjectRulesReview = await self._decode(call, selfsubjectrulesreview.RESOURCE)
        held = self._rules.rules_of(call.user, review.spec.namespace)
        why = self._rules.why_incomplete(call.user)
        review.status = SubjectRulesReviewStatus(
            resource_rules=[_resource_rule(rule) for rule in held if rule.resources],
            non_resource_rules=[
                NonResourceRule(verbs=rule.verbs, non_resource_urls=rule.non_resource_urls)
                for rule in held
                if rule.non_resource_urls
            ],
            incomplete=bool(why),
            evaluation_error=why,
        )
        return _answer(review)


class SelfReviewHandler(_Reviews):
    """Tells whoever calls who they are, as authentication and impersonation have it."""

    def __init__(self, clock: Clock, admission: AdmissionPlugin | None = None) -> None:
        super().__init__(admission)
        self._clock = clock

    async def __call__(self, call: Call) -> Answer:
        """Answer the review in the call's body."""
        review: SelfSubjectReview = await self._decode(call, selfsubjectreview.RESOURCE)
        review.metadata.creation_timestamp = timestamps.render(self._clock.now())
        review.status.user_info = _user_info(call.user)
        return _answer(review)


class TokenReviewHandler(_Reviews):
    """Says whose a token is, and for whom it was made."""

    def __init__(
        self,
        tokens: TokenAuthenticator,
        others: Sequence[Authenticator] = (),
        admission: AdmissionPlugin | None = None,
    ) -> None:
        super().__init__(admission)
        self._tokens = tokens
        self._others = tuple(others)

    async def __call__(self, call: Call) -> Answer:
        """Answer the review in the call's body; a token that is not believed is an answer, too.

        Raises:
            Invalid: there is no token in it.
        """
        review: TokenReview = await self._decode(call, tokenreview.RESOURCE)
        try:
            for other in self._others:
                # Tokens of other kinds are for this server, and say of nobody else that they are for them.
                found = await other.authenticate(Credentials(token=review.spec.token))
                if found is not None:
                    review.status = TokenReviewStatus(authenticated=True, user=_user_info(found))
                    return _answer(review)
            user, audiences = await self._tokens.review(review.spec.token, review.spec.audiences)
        except Unauthorized:
            review.status = TokenReviewStatus(error="the token is not valid, or not for these audiences")
        else:
            review.status = TokenReviewStatus(authenticated=True, user=_user_info(user), audiences=list(audiences))
        return _answer(review)


def _answer(review: Any) -> Answer:
    return Answer(msgspec.json.encode(review), code=201)


async def _decide(authorizer: Authorizer, user: User, question: Question) -> SubjectAccessReviewStatus:
    decision = await decided(authorizer.authorize(user, _asked(question)))
    return SubjectAccessReviewStatus(
        allowed=decision.allowed, denied=decision.denied, reason=decision.reason, evaluation_error=decision.error
    )


def _asked(question: Question) -> RequestInfo:
    of_resource, of_path = question.resource_attributes, question.non_resource_attributes
    if of_resource is not None:
        return RequestInfo(
            verb=of_resource.verb,
            group=of_resource.group,
            version=of_resource.version,
            plural=of_resource.resource,
            subresource=of_resource.subresource,
            namespace=of_resource.namespace,
            name=of_resource.name,
            field_selector=_selector_text(of_resource.field_selector),
            label_selector=_labels_text(of_resource.label_selector),
        )
    assert of_path is not None, "validated"
    return RequestInfo(verb=of_path.verb, path=of_path.path)


def _selector_text(selector: FieldSelectorAttributes | None) -> str:
    """Return a selector as a list would send it; a requirement that no list can make restricts nothing (KEP-4601)."""
    if selector is None or selector.raw_selector:
        return selector.raw_selector if selector is not None else ""
    terms = (
        FieldTerm(each.key, each.values[0], each.operator == "In")
        for each in selector.requirements
        if each.operator in ("In", "NotIn") and len(each.values) == 1
    )
    return str(FieldSelector(tuple(terms)))


def _labels_text(selector: LabelSelectorAttributes | None) -> str:
    if selector is None or selector.raw_selector:
        return selector.raw_selector if selector is not None else ""
    terms = []
    for each in selector.requirements:
        values = ",".join(sorted(each.values))
        match each.operator:
            case "In" | "NotIn" if each.values:
                terms.append(f"{each.key} {each.operator.lower()} ({values})")
            case "Exists":
                terms.append(each.key)
            case "DoesNotExist":
                terms.append(f"!{each.key}")
    return ",".join(terms)


def _subject(spec: SubjectAccessReviewSpec) -> User:
    extra = {key.lower(): tuple(values) for key, values in spec.extra.items()}
    return User(spec.user, spec.uid, tuple(spec.groups), extra)


def _resource_rule(rule: PolicyRule) -> ResourceRule:
    return ResourceRule(
        verbs=rule.verbs, api_groups=rule.api_groups, resources=rule.resources, resource_names=rule.resource_names
    )


def _user_info(user: User) -> UserInfo:
    extra: Mapping[str, tuple[str, ...]] = user.extra
    return UserInfo(
        username=user.name,
        uid=user.uid,
        groups=list(user.groups),
        extra={key: list(values) for key, values in extra.items()},
    )
