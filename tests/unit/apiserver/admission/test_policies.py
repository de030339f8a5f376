"""ValidatingAdmissionPolicies, through the whole API in memory."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from api.errors import ApiError, Forbidden, Invalid
from apiserver.app import Api, InternalCredentials
from apiserver.request import Call, RequestInfo, User
from tests.plain_client import ADMIN, PlainClient

GROUP = "admissionregistration.k8s.io"
Plain = dict[str, Any]


class Client(PlainClient):
    """Makes policies and what they are about."""

    async def create(
        self,
        plural: str,
        body: Plain,
        *,
        group: str = "",
        namespace: str = "default",
        as_user: Any = ADMIN,
        **options: str,
    ) -> Plain:
        info = RequestInfo("create", "", group, "v1", plural, "", namespace, "")
        made: Plain = await self.call(info, body, credentials=as_user, **options)
        return made

    async def policy(self, binding: Plain | None = None, **spec: Any) -> None:
        """Put a policy into force about ConfigMaps."""
        rule = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["*"], "resources": ["configmaps"]}
        full = {"matchConstraints": {"resourceRules": [rule]}, **spec}
        await self.create(
            "validatingadmissionpolicies", {"metadata": {"name": "p"}, "spec": full}, group=GROUP, namespace=""
        )
        bound = {"policyName": "p", "validationActions": ["Deny"], **(binding or {})}
        made = await self.create(
            "validatingadmissionpolicybindings", {"metadata": {"name": "b"}, "spec": bound}, group=GROUP, namespace=""
        )
        # Until the caches have both.
        info = RequestInfo("list", "", GROUP, "v1", "validatingadmissionpolicybindings", "", "", "")
        await self.call(info, resourceVersion=made["metadata"]["resourceVersion"])

    async def configmap(self, name: str = "a", **more: Any) -> Plain:
        return await self.create("configmaps", {"metadata": {"name": name, **more.pop("metadata", {})}, **more})


@pytest.fixture
async def client(api: Api) -> Client:
    return Client(api)


def rule(expression: str, **more: str) -> list[Plain]:
    return [{"expression": expression, **more}]


async def test_who_breaks_a_rule_is_refused_and_told_which(client: Client) -> None:
    await client.policy(validations=rule("object.metadata.name == 'good'"))
    await client.configmap("good")
    with pytest.raises(ApiError) as refused:
        await client.configmap("bad")
    message = (
        "ValidatingAdmissionPolicy 'p' with binding 'b' denied request: "
        "failed expression: object.metadata.name == 'good'"
    )
    status = refused.value.status()
    assert (status["code"], status["reason"]) == (422, "Invalid")
    assert status["message"] == f'configmaps "bad" is forbidden: {message}'
    assert status["details"] == {"name": "bad", "kind": "configmaps", "causes": [{"message": message}]}


@pytest.mark.parametrize(
    ("more", "message", "code"),
    [
        ({"message": "be good", "reason": "Forbidden"}, "be good", 403),
        ({"messageExpression": "'no ' + object.metadata.name"}, "no bad", 422),
        ({"messageExpression": "'a\\nb'", "message": "one line"}, "one line", 422),
        ({"messageExpression": "object.nothing + ''", "reason": "Unauthorized"}, "failed expression: false", 401),
    ],
)
async def test_a_rule_says_what_its_author_wrote(client: Client, more: Plain, message: str, code: int) -> None:
    await client.policy(validations=rule("false", **more))
    with pytest.raises(ApiError) as refused:
        await client.configmap("bad")
    assert refused.value.message.endswith(f"denied request: {message}") and refused.value.code == code


async def test_actions_other_than_deny_only_tell(client: Client) -> None:
    await client.policy({"validationActions": ["Warn", "Audit"]}, validations=rule("false", message="careful"))
    await client.configmap()
    assert client.warnings == ["Validation failed for ValidatingAdmissionPolicy 'p' with binding 'b': careful"]
    told = client.annotations["validation.policy.admission.k8s.io/validation_failure"]
    assert '"message":"careful","policy":"p","binding":"b","expressionIndex":0' in told


async def test_variables_are_evaluated_when_they_are_looked_at(client: Client) -> None:
    variables = [
        {"name": "broken", "expression": "object.nothing.at.all"},
        {"name": "names", "expression": "object.data.map(k, k)"},
        {"name": "count", "expression": "size(variables.names)"},
    ]
    validations = rule(
        "!has(object.data) || variables.count <= 1", messageExpression="'got ' + string(variables.count)"
    )
    await client.policy(variables=variables, validations=validations)
    await client.configmap("a", data={"x": "1"})
    with pytest.raises(ApiError, match="got 2"):
        await client.configmap("b", data={"x": "1", "y": "2"})


@pytest.mark.parametrize(("failure_policy", "is_refused"), [("Fail", True), ("Ignore", False)])
async def test_a_rule_that_has_no_value_refuses_or_not_as_the_policy_says(
    client: Client, failure_policy: str, is_refused: bool
) -> None:
    await client.policy(failurePolicy=failure_policy, validations=rule("object.spec.replicas == 1"))
    if not is_refused:
        await client.configmap()
    else:
        message = "expression 'object.spec.replicas == 1' resulted in error: no such key: spec"
        with pytest.raises(ApiError, match=message):
            await client.configmap()
    counted = {("p", "b", "invalid_error", "deny" if is_refused else "allow"): 1}
    assert client.api.metrics.admission.checks.values == counted


async def test_parameters_are_found_by_name_or_by_labels(client: Client) -> None:
    kind = {"apiVersion": "v1", "kind": "ConfigMap"}
    validations = rule("object.metadata.name.startsWith(params.data.prefix)")
    conditions = [{"name": "not-a-param", "expression": "!has(object.data)"}]
    ref = {"selector": {"matchLabels": {"is": "param"}}, "parameterNotFoundAction": "Deny"}
    labels = {"labels": {"is": "param"}}
    await client.policy({"paramRef": ref}, paramKind=kind, validations=validations, matchConditions=conditions)
    with pytest.raises(ApiError, match="no params found for policy binding with `Deny` parameterNotFoundAction"):
        await client.configmap("ab")
    with pytest.raises(ApiError, match="no params found"):
        await client.configmap("first", metadata=labels, data={"prefix": "a"})


async def test_every_set_of_parameters_has_to_be_satisfied(client: Client) -> None:
    for name in ("a", "ab"):
        await client.configmap(f"param-{name}", metadata={"labels": {"is": "param"}}, data={"prefix": name})
    kind = {"apiVersion": "v1", "kind": "ConfigMap"}
    ref = {"selector": {"matchLabels": {"is": "param"}}, "namespace": "default", "parameterNotFoundAction": "Deny"}
    await client.policy(
        {"paramRef": ref}, paramKind=kind, validations=rule("object.metadata.name.startsWith(params.data.prefix)")
    )
    await client.configmap("abc")
    with pytest.raises(ApiError, match="failed expression"):
        await client.configmap("ac")


async def test_missing_parameters_may_be_allowed(client: Client) -> None:
    ref = {"name": "nowhere", "parameterNotFoundAction": "Allow"}
    kind = {"apiVersion": "v1", "kind": "ConfigMap"}
    await client.policy({"paramRef": ref}, paramKind=kind, validations=rule("false"))
    await client.configmap()


async def test_a_binding_narrows_what_a_policy_is_about(client: Client) -> None:
    narrow = {"objectSelector": {"matchLabels": {"checked": "yes"}}}
    await client.policy({"matchResources": narrow}, validations=rule("false"))
    await client.configmap("free")
    with pytest.raises(ApiError):
        await client.configmap("bound", metadata={"labels": {"checked": "yes"}})


async def test_rules_see_the_request_the_namespace_and_what_the_user_may(client: Client) -> None:
    expression = (
        "request.operation == 'CREATE' && request.resource.resource == 'configmaps' && oldObject == null"
        " && request.userInfo.username == 'admin' && namespaceObject.metadata.name == 'default'"
        " && namespaceObject.metadata.creationTimestamp < timestamp('2100-01-01T00:00:00Z')"
        " && authorizer.group('').resource('secrets').namespace('default').check('get').allowed()"
        " && !authorizer.serviceAccount('default', 'robot').group('').resource('pods').check('list').allowed()"
    )
    another = (
        "authorizer.requestResource.check('delete').allowed() && authorizer.path('/healthz').check('get').allowed()"
    )
    await client.policy(validations=[*rule(expression), *rule(another)])
    await client.configmap()


async def test_audit_annotations_carry_the_policys_name(client: Client) -> None:
    annotations = [
        {"key": "name", "valueExpression": "'made ' + object.metadata.name"},
        {"key": "none", "valueExpression": "null"},
    ]
    await client.policy(auditAnnotations=annotations)
    await client.configmap()
    assert {key: value for key, value in client.annotations.items() if key.startswith("p/")} == {"p/name": "made a"}


async def test_policies_don_t_judge_themselves(client: Client) -> None:
    everything = {"apiGroups": ["*"], "apiVersions": ["*"], "operations": ["*"], "resources": ["*"]}
    await client.policy(matchConstraints={"resourceRules": [everything]}, validations=rule("false"))
    with pytest.raises(ApiError):
        await client.configmap()
    info = RequestInfo("delete", "", GROUP, "v1", "validatingadmissionpolicybindings", "", "", "b")
    await client.call(info)


async def test_excluded_rules_and_names_are_left_alone(client: Client) -> None:
    rules = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["configmaps"]}
    match = {"resourceRules": [rules], "excludeResourceRules": [{**rules, "resourceNames": ["free"]}]}
    await client.policy(matchConstraints=match, validations=rule("false"))
    await client.configmap("free")
    with pytest.raises(ApiError):
        await client.configmap("bound")


async def test_another_version_of_the_same_objects_counts_unless_exact(client: Client) -> None:
    rules = {"apiGroups": ["autoscaling"], "apiVersions": ["v1"], "operations": ["CREATE"]}
    match = {"resourceRules": [{**rules, "resources": ["horizontalpodautoscalers"]}]}
    await client.policy(
        matchConstraints=match,
        validations=rule("object.apiVersion == 'autoscaling/v1' && object.spec.targetCPUUtilizationPercentage < 60"),
    )
    target = {"kind": "Deployment", "name": "d", "apiVersion": "apps/v1"}
    usage = {"type": "Utilization", "averageUtilization": 70}
    metrics = [{"type": "Resource", "resource": {"name": "cpu", "target": usage}}]
    body = {"metadata": {"name": "h"}, "spec": {"scaleTargetRef": target, "maxReplicas": 2, "metrics": metrics}}
    info = RequestInfo("create", "", "autoscaling", "v2", "horizontalpodautoscalers", "", "default", "")
    with pytest.raises(ApiError, match="failed expression"):
        await client.call(info, body)
    usage["averageUtilization"] = 50
    await client.call(info, body)


async def test_an_unprivileged_user_is_judged_by_what_they_may(client: Client, api: Api) -> None:
    await client.policy(validations=rule("authorizer.requestResource.check('delete').allowed()"))
    nobody = InternalCredentials(user=User("nobody", groups=("system:authenticated",)))
    with pytest.raises(Forbidden):
        await client.create("configmaps", {"metadata": {"name": "x"}}, as_user=nobody)


async def test_an_expression_that_costs_too_much_fails(client: Client) -> None:
    many = "[1,2,3,4,5,6,7,8,9,10]"
    expression = ".all(a, ".join([many] * 8) + ".all(a, true" + ")" * 8
    await client.policy(validations=rule(expression))
    with pytest.raises(ApiError, match="actual cost limit exceeded"):
        await client.configmap()


@pytest.mark.parametrize(
    ("spec", "path", "why"),
    [
        ({"validations": rule("object.")}, "spec.validations[0].expression", "compilation failed: ERROR: <input>:1:8"),
        ({"validations": rule("1")}, "spec.validations[0].expression", "must evaluate to bool"),
        ({"validations": rule("object.x")}, "spec.validations[0].expression", "must evaluate to bool"),
        ({"validations": rule("params.x == 1")}, "spec.validations[0].expression", "undeclared reference to 'params'"),
        (
            {"validations": rule("request.nope == ''")},
            "spec.validations[0].expression",
            "undefined field 'nope'",
        ),
        (
            {"validations": rule("true", messageExpression="1")},
            "spec.validations[0].messageExpression",
            "must evaluate to string",
        ),
        (
            {"validations": rule("true", messageExpression="authorizer.path('/').check('get').reason()")},
            "spec.validations[0].messageExpression",
            "undeclared reference to 'authorizer'",
        ),
        (
            {"auditAnnotations": [{"key": "k", "valueExpression": "1"}]},
            "spec.auditAnnotations[0].valueExpression",
            "must evaluate to one of [string null]",
        ),
        (
            {"validations": rule("variables.b == 1"), "variables": [{"name": "a", "expression": "1"}]},
            "spec.validations[0].expression",
            "undefined field 'b'",
        ),
        (
            {
                "validations": rule("true"),
                "variables": [{"name": "a", "expression": "variables.b"}, {"name": "b", "expression": "1"}],
            },
            "spec.variables[0].expression",
            "undefined field 'b'",
        ),
        (
            {"validations": rule("true"), "matchConditions": [{"name": "c", "expression": "variables.x"}]},
            "spec.matchConditions[0].expression",
            "undeclared reference to 'variables'",
        ),
    ],
)
async def test_an_expression_that_makes_no_sense_is_refused_when_written(
    client: Client, spec: Plain, path: str, why: str
) -> None:
    with pytest.raises(Invalid) as refused:
        await client.policy(**spec)
    (cause,) = refused.value.causes
    assert cause.field == path and why in cause.message


async def checked(client: Client) -> Plain:
    """Return a policy's status, once it has been looked at."""
    info = RequestInfo("get", "", GROUP, "v1", "validatingadmissionpolicies", "", "", "p")
    async with asyncio.timeout(5):
        while True:
            found = await client.call(info)
            if found["status"].get("observedGeneration") == found["metadata"]["generation"]:
                status: Plain = found["status"]
                return status
            await asyncio.sleep(0.01)


DEPLOYMENTS = {
    "resourceRules": [
        {"apiGroups": ["apps"], "apiVersions": ["v1"], "operations": ["*"], "resources": ["deployments"]},
    ]
}


async def test_types_that_fit_give_no_warning(client: Client) -> None:
    await client.policy(matchConstraints=DEPLOYMENTS, validations=rule("object.spec.replicas > 1"))
    assert (await checked(client))["typeChecking"] == {}


async def test_types_that_don_t_fit_are_warned_of_in_the_status(client: Client) -> None:
    message = "'wants replicas > 1, got ' + variables.replicas"
    await client.policy(
        matchConstraints=DEPLOYMENTS,
        variables=[{"name": "replicas", "expression": "object.spec.replicas"}],
        validations=rule("object.spec.replicas > '1'", messageExpression=message),
    )
    first, second = (await checked(client))["typeChecking"]["expressionWarnings"]
    assert first["fieldRef"] == "spec.validations[0].expression"
    assert first["warning"] == (
        "apps/v1, Kind=Deployment: ERROR: <input>:1:22: found no matching overload for '_>_' applied to '(int, string)'"
        "\n | object.spec.replicas > '1'\n | .....................^\n"
    )
    assert second["fieldRef"] == "spec.validations[0].messageExpression"
    assert "found no matching overload for '_+_' applied to '(string, int)'" in second["warning"]


async def test_connections_are_judged_with_what_they_are_asked_for(client: Client, api: Api) -> None:
    rules = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CONNECT"], "resources": ["pods/exec"]}
    await client.policy(
        matchConstraints={"resourceRules": [rules]},
        validations=rule(
            "object.kind == 'PodExecOptions' && !object.?stdin.orValue(false) && !('sh' in object.command)"
        ),
    )

    async def open_it(call: Call) -> str:
        return "opened"

    async def connect(query: str) -> str:
        info = RequestInfo("create", "/x", "", "v1", "pods", "exec", "default", "web")
        target = f"/api/v1/namespaces/default/pods/web/exec?{query}"
        answer: str = await api.handle(Call(info, credentials=ADMIN, handler=open_it, target=target))
        return answer

    assert await connect("command=ls&command=-l&stdout=true") == "opened"
    for refused in ("command=env&command=sh&stdout=true", "command=ls&stdin=true"):
        with pytest.raises(ApiError, match='pods "web" is forbidden: ValidatingAdmissionPolicy'):
            await connect(refused)


CUSTOM = "stable.example.com"


async def define(client: Client, **version: Any) -> None:
    """Define Widgets in two versions that differ in name alone."""
    schema = {"openAPIV3Schema": {"type": "object", "properties": {"spec": {"type": "object", "properties": {
        "size": {"type": "integer"}, "colour": {"type": "string"}}}}}}  # fmt: skip
    both = [
        {"name": "v1", "served": True, "storage": True, "schema": schema, **version},
        {"name": "v2", "served": True, "storage": False, "schema": schema},
    ]
    spec = {"group": CUSTOM, "scope": "Namespaced", "names": {"plural": "widgets", "kind": "Widget"}, "versions": both}
    body = {"metadata": {"name": f"widgets.{CUSTOM}"}, "spec": spec}
    await client.create("customresourcedefinitions", body, group="apiextensions.k8s.io", namespace="")
    await served(client, True)


async def served(client: Client, wanted: bool) -> None:
    """Wait until Widgets are served, or no more."""
    async with asyncio.timeout(5):
        while True:
            if (client.api.registries.kinds.by_gvr(CUSTOM, "v2", "widgets") is not None) is wanted:
                return
            await asyncio.sleep(0.01)


def widget(version: str = "v1", **spec: Any) -> Plain:
    return {"apiVersion": f"{CUSTOM}/{version}", "kind": "Widget", "metadata": {"name": "w"}, "spec": spec}


async def test_custom_objects_are_judged_in_the_version_a_policy_names(client: Client) -> None:
    await define(client)
    rules = {"apiGroups": [CUSTOM], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["widgets"]}
    await client.policy(
        matchConstraints={"resourceRules": [rules]},
        validations=rule(
            f"object.apiVersion == '{CUSTOM}/v1' && request.requestKind.version == 'v2' && object.spec.size < 3"
        ),
    )
    info = RequestInfo("create", "", CUSTOM, "v2", "widgets", "", "default", "")
    with pytest.raises(ApiError, match="failed expression"):
        await client.call(info, widget("v2", size=3))
    await client.call(info, widget("v2", size=2))


async def test_the_types_of_custom_kinds_are_checked(client: Client) -> None:
    await define(client)
    rules = {"apiGroups": [CUSTOM], "apiVersions": ["v1"], "operations": ["*"], "resources": ["widgets"]}
    await client.policy(
        matchConstraints={"resourceRules": [rules]},
        validations=[*rule("object.spec.nothing < 10"), *rule("object.metadata.name != ''")],
    )
    (warning,) = (await checked(client))["typeChecking"]["expressionWarnings"]
    assert (
        f"{CUSTOM}/v1, Kind=Widget: ERROR" in warning["warning"] and "undefined field 'nothing'" in warning["warning"]
    )


async def test_a_definition_goes_though_a_policy_would_keep_its_objects(client: Client) -> None:
    await define(client)
    info = RequestInfo("create", "", CUSTOM, "v1", "widgets", "", "default", "")
    await client.call(info, widget(size=1))
    rules = {"apiGroups": [CUSTOM], "apiVersions": ["*"], "operations": ["DELETE"], "resources": ["widgets"]}
    await client.policy(matchConstraints={"resourceRules": [rules]}, validations=rule("false"))
    with pytest.raises(ApiError, match="failed expression"):
        await client.call(RequestInfo("delete", "", CUSTOM, "v1", "widgets", "", "default", "w"))
    plural, group = "customresourcedefinitions", "apiextensions.k8s.io"
    await client.call(RequestInfo("delete", "", group, "v1", plural, "", "", f"widgets.{CUSTOM}"))
    await served(client, False)


async def test_who_may_not_read_parameters_may_not_put_a_policy_with_them_into_force(client: Client, api: Api) -> None:
    kinds = ["validatingadmissionpolicies", "validatingadmissionpolicybindings"]
    rules = [{"apiGroups": [GROUP], "resources": kinds, "verbs": ["*"]}]
    rbac = {"group": "rbac.authorization.k8s.io", "namespace": ""}
    await client.create("clusterroles", {"metadata": {"name": "policies"}, "rules": rules}, **rbac)
    ref = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "policies"}
    subjects = [{"kind": "User", "name": "writer", "apiGroup": "rbac.authorization.k8s.io"}]
    made = await client.create(
        "clusterrolebindings", {"metadata": {"name": "p"}, "roleRef": ref, "subjects": subjects}, **rbac
    )
    info = RequestInfo("list", "", "rbac.authorization.k8s.io", "v1", "clusterrolebindings")
    await client.call(info, resourceVersion=made["metadata"]["resourceVersion"])
    writer = InternalCredentials(user=User("writer", groups=("system:authenticated",)))
    spec = {
        "paramKind": {"apiVersion": "v1", "kind": "Secret"},
        "matchConstraints": DEPLOYMENTS,
        "validations": rule("false", messageExpression="string(params.data)"),
    }
    policy = {"metadata": {"name": "p"}, "spec": spec}
    with pytest.raises(Invalid, match='must have "get" permission on all objects of the referenced paramKind'):
        await client.create(kinds[0], policy, group=GROUP, namespace="", as_user=writer)
    await client.create(kinds[0], policy, group=GROUP, namespace="")
    param = {"name": "s", "namespace": "kube-system", "parameterNotFoundAction": "Deny"}
    bound = {"policyName": "p", "validationActions": ["Deny"], "paramRef": param}
    with pytest.raises(Invalid, match='does not have "get" permission on the object referenced by paramRef'):
        await client.create(
            kinds[1], {"metadata": {"name": "b"}, "spec": bound}, group=GROUP, namespace="", as_user=writer
        )


async def test_a_rules_own_reason_is_for_what_breaks_it_not_for_what_it_cannot_judge(client: Client) -> None:
    await client.policy(validations=rule("object.data.nothing == 'x'", reason="Unauthorized"))
    with pytest.raises(ApiError) as refused:
        await client.configmap("a", data={"x": "y"})
    assert (refused.value.code, refused.value.reason) == (422, "Invalid")
    assert "expression 'object.data.nothing == 'x'' resulted in error: no such key: nothing" in refused.value.message


async def test_a_variable_without_a_value_is_told_of_by_name(client: Client) -> None:
    await client.policy(
        validations=rule("variables.v == 'x'"), variables=[{"name": "v", "expression": "object.data.nothing"}]
    )
    with pytest.raises(ApiError, match='composited variable "v" fails to evaluate: no such key: nothing'):
        await client.configmap("a", data={"x": "y"})


async def test_a_policy_with_parameters_of_a_kind_that_nobody_serves_is_itself_at_fault(client: Client) -> None:
    await client.policy(
        {"paramRef": {"name": "p", "parameterNotFoundAction": "Deny"}},
        validations=rule("true"),
        paramKind={"apiVersion": "x.io/v1", "kind": "Nothing"},
    )
    why = "ValidatingAdmissionPolicy 'p' denied request: failed to configure policy: failed to find resource referenced"
    with pytest.raises(ApiError, match=f"{why} by paramKind: 'x.io/v1, Kind=Nothing'"):
        await client.configmap("a")
