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
from api.authorization.selfsubjectaccessreview import Question, SelfSubjectAccessReview, SubjectAccessReviewStatus
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
from apiserver.auth.tokens import TokenAuthenticator
from apiserver.request import Answer, Authenticator, Authorizer, Call, Credentials, RequestInfo, RuleSource, User
from apiserver.verbs import writing
from component.clock import Clock


class AccessReviewHandler:
    """Asks the authorizer on behalf of whoever calls: SelfSubjectAccessReview."""

    def __init__(self, authorizer: Authorizer) -> None:
        self._authorizer = authorizer

    async def __call__(self, call: Call) -> Answer:
        """Answer the review in the call's body.

        Raises:
            Invalid: it asks about neither a resource nor a path, or about both.
        """
        review: SelfSubjectAccessReview = _decode(call, selfsubjectaccessreview.RESOURCE)
        review.status = _decide(self._authorizer, call.user, review.spec)
        return _answer(review)


class SubjectAccessReviewHandler:
    """Asks the authorizer about somebody else, anywhere or in the namespace of the path."""

    def __init__(self, authorizer: Authorizer, *, is_local: bool) -> None:
        self._authorizer = authorizer
        self._resource: Resource[Any] = localsubjectaccessreview.RESOURCE if is_local else subjectaccessreview.RESOURCE

    async def __call__(self, call: Call) -> Answer:
        """Answer the review in the call's body.

        Raises:
            Invalid: it is about nobody, about nothing, or about another namespace.
        """
        review: SubjectAccessReview | LocalSubjectAccessReview = _decode(call, self._resource)
        review.status = _decide(self._authorizer, _subject(review.spec), review.spec)
        return _answer(review)


class RulesReviewHandler:
    """Lists what whoever calls may do in a namespace."""

    def __init__(self, rules: RuleSource) -> None:
        self._rules = rules

    async def __call__(self, call: Call) -> Answer:
        """Answer the review in the call's body.

        Raises:
            Invalid: it names no namespace.
        """
        review: SelfSubjectRulesReview = _decode(call, selfsubjectrulesreview.RESOURCE)
        held = self._rules.rules_of(call.user, review.spec.namespace)
        review.status = SubjectRulesReviewStatus(
            resource_rules=[_resource_rule(rule) for rule in held if rule.resources],
            non_resource_rules=[
                NonResourceRule(verbs=rule.verbs, non_resource_urls=rule.non_resource_urls)
                for rule in held
                if rule.non_resource_urls
            ],
        )
        return _answer(review)


class SelfReviewHandler:
    """Tells whoever calls who they are, as authentication and impersonation have it."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    async def __call__(self, call: Call) -> Answer:
        """Answer the review in the call's body."""
        review: SelfSubjectReview = _decode(call, selfsubjectreview.RESOURCE)
        review.metadata.creation_timestamp = timestamps.render(self._clock.now())
        review.status.user_info = _user_info(call.user)
        return _answer(review)


class TokenReviewHandler:
    """Says whose a token is, and for whom it was made."""

    def __init__(self, tokens: TokenAuthenticator, others: Sequence[Authenticator] = ()) -> None:
        self._tokens = tokens
        self._others = tuple(others)

    async def __call__(self, call: Call) -> Answer:
        """Answer the review in the call's body; a token that is not believed is an answer, too.

        Raises:
            Invalid: there is no token in it.
        """
        review: TokenReview = _decode(call, tokenreview.RESOURCE)
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


def _decode(call: Call, resource: Resource[Any]) -> Any:
    review = writing.decode_body(call, resource)
    writing.place(call, resource, review)
    errors = list(resource.validate(review, None))
    if errors:
        raise validation.refuse(resource, review, errors)
    return review


def _answer(review: Any) -> Answer:
    return Answer(msgspec.json.encode(review), code=201)


def _decide(authorizer: Authorizer, user: User, question: Question) -> SubjectAccessReviewStatus:
    decision = authorizer.authorize(user, _asked(question))
    return SubjectAccessReviewStatus(allowed=decision.allowed, reason=decision.reason)


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
        )
    assert of_path is not None, "validated"
    return RequestInfo(verb=of_path.verb, path=of_path.path)


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
