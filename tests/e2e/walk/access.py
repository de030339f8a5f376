"""Who one is, what one may do, certificates, and kubectl's own configuration."""

from __future__ import annotations

import base64
import json
import tempfile

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.e2e.conftest import eventually
from tests.e2e.kubectl import Kubectl


def signing_request(user: str) -> str:
    """Return a certificate signing request for `user`, as the API wants it."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, user)])
    request = x509.CertificateSigningRequestBuilder().subject_name(subject)
    signed = request.sign(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256())
    return base64.b64encode(signed.public_bytes(serialization.Encoding.PEM)).decode()


def ask_what_one_may(k: Kubectl) -> None:
    assert k("auth", "can-i", "create", "pods").strip() == "yes"
    assert k.fails("auth", "can-i", "create", "pods", "--as=nobody").strip().startswith("no")
    assert k("auth", "can-i", "get", "/healthz", "--as=nobody", "--as-group=system:authenticated").strip() == "yes"
    assert "*.*" in k("auth", "can-i", "--list")
    if k.version == "1.27":  # It asks for versions of this API that 1.32 no longer serves, or not unasked.
        assert "selfsubjectreviews API is not enabled" in k.fails("auth", "whoami")
    else:
        who = json.loads(k("auth", "whoami", "-o", "json"))["status"]["userInfo"]
        assert "system:authenticated" in who["groups"]
        assert "nobody" in k("auth", "whoami", "--as=nobody", "--as-group=system:authenticated")
    rules = [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}]
    kind = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role"}
    role = {**kind, "metadata": {"name": "r", "namespace": k.namespace}, "rules": rules}
    assert "reconciled" in k("auth", "reconcile", "-f", "-", stdin=json.dumps(role))
    rules[0]["verbs"].append("list")
    assert "missing rules added" in k("auth", "reconcile", "-f", "-", stdin=json.dumps(role))
    assert "list" in k.path("role/r", ".rules[*].verbs[*]").split()
    k("create", "rolebinding", "rb", "--role=r", "--user=jane")
    assert k("auth", "can-i", "list", "pods", "--as=jane").strip() == "yes"
    assert 'User "jane" cannot list resource "secrets"' in k.fails("get", "secrets", "--as=jane")


def approve_and_deny_certificates(k: Kubectl) -> None:
    def request(name: str) -> str:
        spec = {
            "request": signing_request(f"user-{k.namespace}"),
            "signerName": "kubernetes.io/kube-apiserver-client",
            "usages": ["client auth"],
        }
        one = {"apiVersion": "certificates.k8s.io/v1", "kind": "CertificateSigningRequest"}
        return json.dumps({**one, "metadata": {"name": name}, "spec": spec})

    yes, no = f"{k.namespace}-yes", f"{k.namespace}-no"
    try:
        k("create", "-f", "-", stdin=request(yes))
        k("create", "-f", "-", stdin=request(no))
        assert "Pending" in k("get", "csr", yes)
        assert "approved" in k("certificate", "approve", yes)
        assert "denied" in k("certificate", "deny", no)
        eventually(lambda: "Approved,Issued" in k("get", "csr", yes), 20, "it is signed")
        assert "Denied" in k("get", "csr", no)
        pem = base64.b64decode(k.path(f"csr/{yes}", ".status.certificate"))
        assert x509.load_pem_x509_certificate(pem).subject.rfc4514_string() == f"CN=user-{k.namespace}"
    finally:
        k("delete", "csr", yes, no, "--ignore-not-found")


def configure_kubectl(k: Kubectl) -> None:
    here = k("config", "current-context").strip()
    assert here in k("config", "get-contexts", "-o", "name").split()
    assert "certificate-authority-data: DATA+OMITTED" in k("config", "view")
    with tempfile.NamedTemporaryFile("w", suffix=".kubeconfig") as mine:
        mine.write(k("config", "view", "--raw", "--minify"))
        mine.flush()
        k("create", "sa", "sa")
        token = k("create", "token", "sa").strip()
        edit = k.elsewhere(mine.name)
        edit("config", "set-credentials", "sa", f"--token={token}")
        cluster = edit("config", "get-clusters").split()[1]
        edit("config", "set-context", "as-sa", "--user=sa", f"--cluster={cluster}", f"--namespace={k.namespace}")
        edit("config", "use-context", "as-sa")
        said = edit.fails("get", "pods")
        assert f'User "system:serviceaccount:{k.namespace}:sa" cannot list resource "pods"' in said
        edit("config", "rename-context", "as-sa", "other")
        assert "other" in edit("config", "get-contexts")
        edit("config", "delete-context", "other")
        edit("config", "delete-user", "sa")
        edit("config", "unset", "current-context")
        edit("config", "set", "clusters.added.server", "https://127.0.0.1:1")
        assert "added" in edit("config", "get-clusters")
        edit("config", "delete-cluster", "added")
