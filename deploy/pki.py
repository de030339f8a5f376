"""The cluster's certificates: four trusts that never vouch for each other.

- the store's CA: store members, and the apiserver as their only client;
- the cluster's CA: the API server, everyone who talks to it, and kubelets as servers;
- the front proxy's CA: who may tell an aggregated server on whose behalf it asks;
- the service-account key: signs the tokens of pods.

Beside them lies the key that the API server encrypts Secrets with in the store. A backup of the store is of no use
without it.

Keys are EC P-256, but for the one that signs tokens: that is RSA, since OpenID Connect obliges nobody to read any other
signature than RS256 (OpenID Connect Discovery 1.0, section 3), and many read no other. They are written with mode 0600
in directories of mode 0700, each once: calling again makes only what is missing, about to expire, or has other names
than it should. User and group names are upstream's ("PKI certificates and requirements").
"""

from __future__ import annotations

import base64
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from client.certificates import NODE_PREFIX, NODES_GROUP, alternative_names, key_pem
from component.files import write_private

TOKEN_KEY_BITS = 2048
CA_VALIDITY = timedelta(days=3650)
LEAF_VALIDITY = timedelta(days=365)
RENEW_BEFORE = timedelta(days=30)
CLOCK_SKEW = timedelta(minutes=5)
_ENCRYPTION = """\
# What the API server encrypts in the store, and with what: the first key writes, all keys read. To change the key, put
# a new one first, then write everything anew: kubectl get secrets -A -o json | kubectl replace -f -
apiVersion: apiserver.config.k8s.io/v1
kind: EncryptionConfiguration
resources:
- resources: [secrets]
  providers:
  - aesgcm:
      keys:
      - name: key1
        secret: {secret}
  - identity: {{}}
"""


@dataclass(frozen=True, slots=True)
class Leaf:
    """A certificate to be issued: its file's stem, who it names, and where its holder may be reached."""

    stem: str
    common_name: str
    organizations: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    """DNS names and addresses; a leaf with hosts may also serve."""


class Authority:
    """One CA, kept as `ca.crt` and `ca.key` in a directory of its own, issuing leaves beside them."""

    def __init__(self, directory: Path, name: str) -> None:
        """Load the CA from `directory`, or make it."""
        self.directory = directory
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.cert_path, self._key_path = directory / "ca.crt", directory / "ca.key"
        if self._key_path.exists() and self.cert_path.exists():
            self._cert = x509.load_pem_x509_certificate(self.cert_path.read_bytes())
            key = serialization.load_pem_private_key(self._key_path.read_bytes(), None)
            assert isinstance(key, ec.EllipticCurvePrivateKey), f"{self._key_path} is not an EC key"
            self._key = key
            return
        self._key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        now = datetime.now(UTC)
        self._cert = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(subject)
            .public_key(self._key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - CLOCK_SKEW)
            .not_valid_after(now + CA_VALIDITY)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_key_usage(ca=True), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(self._key.public_key()), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        write_private(self._key_path, key_pem(self._key))
        write_private(self.cert_path, self._cert.public_bytes(serialization.Encoding.PEM))

    def ensure(self, leaf: Leaf, *, anew: bool = False) -> bool:
        """Issue `leaf` beside the CA unless a good one is there; return whether it was issued now.

        `anew` issues it whatever is there.
        """
        cert_path, key_path = self.directory / f"{leaf.stem}.crt", self.directory / f"{leaf.stem}.key"
        if not anew and self._is_good(cert_path, key_path, leaf):
            return False
        key, certificate = self._issue(leaf)
        write_private(key_path, key)
        write_private(cert_path, certificate)
        return True

    def ensure_in_one(self, leaf: Leaf, path: Path, *, anew: bool = False) -> bool:
        """Issue `leaf` into one file with its key, unless a good one is there; return whether it was issued now."""
        if not anew and self._is_good(path, path, leaf):
            return False
        write_private(path, b"".join(self._issue(leaf)))
        return True

    def _issue(self, leaf: Leaf) -> tuple[bytes, bytes]:
        key = ec.generate_private_key(ec.SECP256R1())
        names = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, name) for name in leaf.organizations]
        names.append(x509.NameAttribute(NameOID.COMMON_NAME, leaf.common_name))
        now = datetime.now(UTC)
        usages = [ExtendedKeyUsageOID.CLIENT_AUTH] + ([ExtendedKeyUsageOID.SERVER_AUTH] if leaf.hosts else [])
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name(names))
            .issuer_name(self._cert.subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - CLOCK_SKEW)
            .not_valid_after(now + LEAF_VALIDITY)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage(ca=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
        )
        if leaf.hosts:
            builder = builder.add_extension(x509.SubjectAlternativeName(alternative_names(leaf.hosts)), critical=False)
        cert = builder.sign(self._key, hashes.SHA256())
        return key_pem(key), cert.public_bytes(serialization.Encoding.PEM)

    def _is_good(self, path: Path, key_path: Path, leaf: Leaf) -> bool:
        try:
            cert = x509.load_pem_x509_certificate(path.read_bytes())
            cert.verify_directly_issued_by(self._cert)
            key = serialization.load_pem_private_key(key_path.read_bytes(), None)
        except Exception:  # whatever is wrong with the files, a new certificate mends it
            return False
        if key.public_key() != cert.public_key():
            return False  # whoever issued it was killed between the two files
        if cert.not_valid_after_utc - datetime.now(UTC) < RENEW_BEFORE:
            return False
        subject = [attribute.value for attribute in cert.subject]
        if subject != [*leaf.organizations, leaf.common_name]:
            return False
        try:
            names = cert.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
            present = {str(name.value) for name in names}
        except x509.ExtensionNotFound:
            present = set()
        return set(leaf.hosts) <= present


class Pki:
    """All trusts of one cluster, under one directory."""

    def __init__(self, directory: Path) -> None:
        """Load or make the authorities and the service-account key under `directory`."""
        self.directory = directory
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.cluster = Authority(directory / "cluster", "steersman-cluster-ca")
        self.store = Authority(directory / "store", "steersman-store-ca")
        self.front_proxy = Authority(directory / "front-proxy", "steersman-front-proxy-ca")
        self.service_account_key = directory / "service-account" / "sa.key"
        if not self.service_account_key.exists():
            self.service_account_key.parent.mkdir(exist_ok=True, mode=0o700)
            write_private(self.service_account_key, key_pem(rsa.generate_private_key(65537, TOKEN_KEY_BITS)))
        self.encryption = directory / "encryption" / "configuration.yaml"
        if not self.encryption.exists():
            self.encryption.parent.mkdir(exist_ok=True, mode=0o700)
            write_private(
                self.encryption, _ENCRYPTION.format(secret=base64.b64encode(secrets.token_bytes(32)).decode()).encode()
            )

    def ensure_control_plane(self, hosts: Sequence[str], store_members: Sequence[str]) -> list[str]:
        """Issue what every control plane needs; `hosts` are further names and addresses of the API server.

        Returns the stems of what was issued now: their holders must be started again to use it.
        """
        issued = [leaf.stem for leaf in [*control_plane_leaves(hosts), KUBEPROXY] if self.cluster.ensure(leaf)]
        members = [member_leaf(name, name) for name in store_members]
        issued += [leaf.stem for leaf in [*members, STORE_CLIENT] if self.store.ensure(leaf)]
        return issued + (["front-proxy"] if self.front_proxy.ensure(FRONT_PROXY_CLIENT) else [])

    def ensure_node(self, name: str, hosts: Sequence[str]) -> bool:
        """Issue a node's two certificates: its kubelet as a client, and as a server at `hosts`."""
        issued = [self.cluster.ensure(leaf) for leaf in node_leaves(name, hosts, f"kubelet-{name}", "-serving")]
        return any(issued)


SERVER_NAMES = (
    "kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local",
    "localhost", "127.0.0.1",
)  # fmt: skip
"""Names that every API server's certificate carries."""
METRICS_NAMES = ("metrics-server.kube-system.svc", "steer-metrics.kube-system.svc")
"""What API servers know the metrics server by: as a pod, and beside the control plane of a machine."""
STORE_CLIENT = Leaf("apiserver", "steer-apiserver")
"""Of the store's CA: whom its members admit."""
KUBEPROXY = Leaf("kubeproxy", "system:kube-proxy")
FRONT_PROXY_CLIENT = Leaf("client", "front-proxy-client")
"""Of the front proxy's CA: whom aggregated API servers believe about users."""


def control_plane_leaves(hosts: Sequence[str]) -> list[Leaf]:
    """Return the certificates of the cluster's CA that a control plane needs, its API server reached at `hosts` too."""
    return [
        Leaf("apiserver", "kube-apiserver", hosts=(*SERVER_NAMES, *hosts)),
        Leaf("apiserver-kubelet-client", "steer-apiserver-kubelet-client", ("system:kubelet-api-admins",)),
        Leaf("scheduler", "system:kube-scheduler"),
        Leaf("controllers", "system:kube-controller-manager"),
        Leaf("dns", "system:cluster-dns"),
        Leaf("metrics", "system:steer-metrics", hosts=METRICS_NAMES),
        Leaf("admin", "kubernetes-admin", ("system:masters",)),
    ]


def member_leaf(stem: str, member: str, hosts: Sequence[str] = ()) -> Leaf:
    """Return a store member's certificate, kept under `stem`."""
    return Leaf(stem, f"steer-store-{member}", hosts=(member, "localhost", "127.0.0.1", *hosts))


def node_leaves(name: str, hosts: Sequence[str], stem: str, serving_suffix: str) -> tuple[Leaf, Leaf]:
    """Return a node's two certificates: its kubelet as a client, and as a server at `hosts`."""
    user, groups = f"{NODE_PREFIX}{name}", (NODES_GROUP,)
    return Leaf(stem, user, groups), Leaf(f"{stem}{serving_suffix}", user, groups, hosts=(name, *hosts))


def expiry(path: Path) -> datetime | None:
    """Return when the certificate in `path` ends, or None if there is none to read."""
    try:
        return x509.load_pem_x509_certificate(path.read_bytes()).not_valid_after_utc
    except (OSError, ValueError):
        return None


def _key_usage(*, ca: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True, content_commitment=False, key_encipherment=False, data_encipherment=False,
        key_agreement=False, key_cert_sign=ca, crl_sign=ca, encipher_only=False, decipher_only=False,
    )  # fmt: skip
