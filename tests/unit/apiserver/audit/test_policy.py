from __future__ import annotations

from pathlib import Path

import pytest

from apiserver.audit.policy import NOTHING, BadPolicy, Level, compile_policy, parse
from apiserver.request import RequestInfo, User

HEAD = "apiVersion: audit.k8s.io/v1\nkind: Policy\n"
ALICE = User("alice", groups=("system:authenticated", "devs"))


def level(rules: str, info: RequestInfo, user: User = ALICE) -> Level:
    return compile_policy(parse((HEAD + "rules:\n" + rules).encode()))(user, info).level


def pods(verb: str = "get", subresource: str = "", name: str = "a", namespace: str = "shop") -> RequestInfo:
    return RequestInfo(verb, "", "", "v1", "pods", subresource, namespace, name)


METADATA = "- level: Metadata\n"


@pytest.mark.parametrize(
    ("rule", "info", "matches"),
    [
        ("  users: [alice]", pods(), True),
        ("  users: [bob]", pods(), False),
        ("  userGroups: [devs]", pods(), True),
        ("  verbs: [list]", pods(), False),
        ("  namespaces: [shop]", pods(), True),
        ("  namespaces: ['']", pods(namespace=""), True),
        ("  namespaces: ['']", pods(), False),
        ("  resources: [{group: ''}]", pods(subresource="log"), True),
        ("  resources: [{group: '', resources: [pods]}]", pods(), True),
        ("  resources: [{group: '', resources: [pods]}]", pods(subresource="log"), False),
        ("  resources: [{group: '', resources: ['pods/*']}]", pods(subresource="log"), True),
        ("  resources: [{group: '', resources: ['pods/*']}]", pods(), False),
        ("  resources: [{group: '', resources: ['*/log']}]", pods(subresource="log"), True),
        ("  resources: [{group: '', resources: ['*']}]", pods(subresource="log"), True),
        ("  resources: [{group: '', resources: [pods], resourceNames: [b]}]", pods(), False),
        ("  resources: [{group: apps}]", pods(), False),
        ("  nonResourceURLs: ['/api*', /version]", RequestInfo("get", "/apis"), True),
        ("  nonResourceURLs: ['*']", RequestInfo("get", "/anything"), True),
        ("  nonResourceURLs: ['/version']", RequestInfo("get", "/metrics"), False),
        ("  nonResourceURLs: ['*']", pods(), False),
        ("  namespaces: [shop]", RequestInfo("get", "/version"), False),
    ],
)
def test_a_rule_matches_what_it_names(rule: str, info: RequestInfo, matches: bool) -> None:
    assert level(METADATA + rule, info) is (Level.METADATA if matches else Level.NONE)


def test_the_first_rule_that_matches_decides() -> None:
    rules = "- level: None\n  users: [alice]\n- level: RequestResponse\n"
    assert level(rules, pods()) is Level.NONE
    assert level(rules, pods(), User("bob")) is Level.REQUEST_RESPONSE


def test_stages_and_managed_fields_are_omitted_by_policy_and_rule_together() -> None:
    text = HEAD + (
        "omitStages: [RequestReceived]\nomitManagedFields: true\nrules:\n"
        "- level: Request\n  omitStages: [Panic]\n  verbs: [get]\n"
        "- level: Request\n  omitManagedFields: false\n"
    )
    decide = compile_policy(parse(text.encode()))
    first, second = decide(ALICE, pods()), decide(ALICE, pods("list"))
    assert (first.omitted, first.omit_managed_fields) == (frozenset(("RequestReceived", "Panic")), True)
    assert (second.omitted, second.omit_managed_fields) == (frozenset(("RequestReceived",)), False)


def test_without_a_matching_rule_nothing_is_told() -> None:
    decide = compile_policy(parse((HEAD + "rules: [{level: Metadata, users: [bob]}]").encode()))
    assert decide(ALICE, pods()) == NOTHING


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("nonsense: [", "expected"),
        ("apiVersion: v1\nkind: Policy\nrules: []", "Invalid enum value 'v1'"),
        (HEAD + "rules: []", "it has no rules"),
        (HEAD + "rules: [{level: Loud}]", "Invalid enum value 'Loud'"),
        (HEAD + "rules: [{level: None, user: [a]}]", "unknown field `user`"),
        (HEAD + "rules: [{level: None, nonResourceURLs: [a]}]", "must begin with a slash"),
        (HEAD + "rules: [{level: None, nonResourceURLs: ['/a*b']}]", "only at its end"),
        (HEAD + "rules: [{level: None, nonResourceURLs: [/a], namespaces: [b]}]", "cannot be combined"),
    ],
)
def test_a_policy_that_cannot_be_used_says_why(text: str, why: str) -> None:
    with pytest.raises(BadPolicy, match=why.replace("(", r"\(")):
        parse(text.encode())


def test_the_policy_in_the_documentation_can_be_used_and_hides_secrets() -> None:
    page = (Path(__file__).parents[4] / "docs" / "operating-the-api-server.md").read_text()
    (text,) = (block.partition("```")[0] for block in page.split("```yaml\n")[1:] if "kind: Policy\n" in block)
    decide = compile_policy(parse(text.encode()))
    for plural, subresource in (("secrets", ""), ("serviceaccounts", "token")):
        info = RequestInfo("create", "", "", "v1", plural, subresource, "shop")
        assert decide(ALICE, info).level is Level.METADATA
    assert decide(ALICE, pods("create")).level is Level.REQUEST
    assert decide(ALICE, RequestInfo("get", "/readyz")).level is Level.NONE
