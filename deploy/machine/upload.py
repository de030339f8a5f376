"""How a control-plane machine that joins gets the CAs' keys: encrypted, through the API, for two hours.

As `kubeadm init --upload-certs` does: the files go into the Secret `steersman-certs`, each encrypted with AES-256-GCM
under a key that only the one who adds machines has. The Secret belongs to a bootstrap token that serves no other
purpose and expires after two hours: when that is deleted, the garbage collector deletes the Secret.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import secrets
from datetime import timedelta
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from api.core import secret
from api.core.secret import Secret
from api.errors import NotFound
from api.meta import ObjectMeta, OwnerReference
from api.resource import ObjectKey
from client.verbs import Client
from component.files import write_private
from deploy.machine import tokens
from deploy.machine.credentials import SHARED_FILES
from deploy.machine.plan import Layout, credential_name
from deploy.machine.rest import Rest
from deploy.report import BadInput, CannotDo

KEPT = ObjectKey("kube-system", "steersman-certs")
LASTS = timedelta(hours=2)
_KEY_BYTES, _NONCE_BYTES = 32, 12


def generate_key() -> str:
    """Return a new certificate key: 64 hexadecimal digits."""
    return secrets.token_hex(_KEY_BYTES)


def parse_key(text: str) -> bytes:
    """Return the key that `text` is.

    Raises:
        CannotDo: it is none; what was given is not repeated.
    """
    try:
        key = binascii.unhexlify(text.strip())
    except ValueError:
        key = b""
    if len(key) != _KEY_BYTES:
        raise BadInput("this is no certificate key: one is 64 hexadecimal digits, as `steer token create` prints it")
    return key


def encrypt(content: bytes, name: str, key: bytes) -> bytes:
    """Return `content` under `key`, bound to its `name` so that no two can be exchanged."""
    nonce = secrets.token_bytes(_NONCE_BYTES)
    return nonce + AESGCM(key).encrypt(nonce, content, name.encode())


def decrypt(content: bytes, name: str, key: bytes) -> bytes:
    """Return what `encrypt` was given.

    Raises:
        CannotDo: the key is another, or the content was changed.
    """
    try:
        return AESGCM(key).decrypt(content[:_NONCE_BYTES], content[_NONCE_BYTES:], name.encode())
    except (InvalidTag, ValueError):
        raise CannotDo(
            "the control plane's keys were not encrypted with this certificate key: "
            "`steer token create --control-plane` on a machine of the control plane makes a new one"
        ) from None


async def upload(client: Client, layout: Layout) -> str:
    """Put the keys into the Secret, in place of older ones, and return the certificate key."""
    text = generate_key()
    key = parse_key(text)
    _, owner = await tokens.create(client, LASTS, usages=(), description=f"ends the Secret {KEPT.name}")
    data = {}
    for place in SHARED_FILES:
        name = credential_name(place)
        data[name] = encrypt((layout.pki / place).read_bytes(), name, key)
    reference = OwnerReference(api_version="v1", kind="Secret", name=owner.metadata.name, uid=owner.metadata.uid)
    metadata = ObjectMeta(name=KEPT.name, namespace=KEPT.namespace, owner_references=[reference])
    with contextlib.suppress(NotFound):
        await client.delete(secret.RESOURCE, KEPT)
    await client.create(secret.RESOURCE, Secret(metadata=metadata, data=data))
    return text


def download(rest: Rest, layout: Layout, key: bytes) -> None:
    """Fetch the keys and put them in place; none is written unless all are right.

    Raises:
        CannotDo: they are not there any more, or the key is another.
    """
    found = rest.get(f"/api/v1/namespaces/{KEPT.namespace}/secrets/{KEPT.name}").get("data") or {}
    files: dict[Path, bytes] = {}
    for place in SHARED_FILES:
        name = credential_name(place)
        if name not in found:
            raise CannotDo(f"the Secret {KEPT.name} lacks {name}: `steer token create --control-plane` makes it again")
        files[layout.pki / place] = decrypt(base64.b64decode(found[name]), name, key)
    for path, content in files.items():
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_private(path, content)
