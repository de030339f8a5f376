from __future__ import annotations

import base64
import hashlib
import hmac

from api.core.configmap import ConfigMap
from api.core.secret import Secret
from api.meta import ObjectMeta
from controllers.actions import NOTHING, Delete, Patch, Plan
from controllers.bootstrap_tokens import Observed, clean, reconcile, sign

NOW = 1_700_000_000.0  # 2023-11-14T22:13:20Z


def token(token_id: str = "abcdef", **changed: str) -> Secret:
    data = {"token-id": token_id, "token-secret": "0123456789abcdef", "usage-bootstrap-signing": "true"}
    data |= {name.replace("_", "-"): value for name, value in changed.items()}
    metadata = ObjectMeta(name=f"bootstrap-token-{token_id}", namespace="kube-system", uid="u")
    return Secret(
        metadata=metadata,
        type="bootstrap.kubernetes.io/token",
        data={name: value.encode() for name, value in data.items()},
    )


def info(**data: str) -> ConfigMap:
    named = {name.replace("_", "-"): value for name, value in data.items()}
    return ConfigMap(metadata=ObjectMeta(name="cluster-info", namespace="kube-public"), data=named)


def test_a_token_is_deleted_when_its_time_is_over() -> None:
    plan = clean(token(expiration="2023-11-14T22:13:20Z"), NOW)
    (action,) = plan.actions
    assert isinstance(action, Delete) and (action.key.name, action.uid) == ("bootstrap-token-abcdef", "u")
    assert isinstance(clean(token(expiration="soon"), NOW).actions[0], Delete)
    assert clean(token(expiration="2023-11-14T22:14:20Z"), NOW) == Plan(requeue_after_s=60.0)
    assert clean(token(), NOW) == NOTHING


def test_every_token_that_is_for_it_signs_and_only_those() -> None:
    tokens = [
        token(),
        token("bbbbbb", usage_bootstrap_signing="false"),
        token("cccccc", expiration="2023-11-14T22:13:20Z"),
    ]
    observed = Observed(info(kubeconfig="hello", jws_kubeconfig_gggggg="old"), tokens)
    (action,) = reconcile(observed, NOW).actions
    assert isinstance(action, Patch)
    signature = sign("hello", "abcdef", "0123456789abcdef")
    assert action.patch == {"data": {"jws-kubeconfig-abcdef": signature, "jws-kubeconfig-gggggg": None}}
    settled = Observed(info(kubeconfig="hello", jws_kubeconfig_abcdef=signature), tokens)
    assert reconcile(settled, NOW) == NOTHING
    assert reconcile(Observed(info(), tokens), NOW) == NOTHING


def test_a_signature_is_a_detached_jws() -> None:
    header, nothing, signature = sign("hello", "abcdef", "secret").split(".")
    assert base64.urlsafe_b64decode(header + "==") == b'{"alg":"HS256","kid":"abcdef"}' and nothing == ""
    expected = hmac.digest(b"secret", f"{header}.aGVsbG8".encode(), hashlib.sha256)
    assert base64.urlsafe_b64decode(signature + "=") == expected
