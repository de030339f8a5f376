from __future__ import annotations

import asyncio
import base64
import random
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from api.core import secret as secrets
from api.core.secret import Secret
from api.errors import ApiError
from api.meta import ObjectMeta
from api.resource import ObjectKey
from apiserver.app import Api, build
from apiserver.bootstrap import bootstrap
from apiserver.encryption import store as encryption
from apiserver.encryption.configuration import BadConfiguration, parse
from apiserver.encryption.store import EncryptedStore, EncryptionKeys
from client.verbs import Client
from component.clock import RealClock
from store.client import Conflict
from store.local import LocalStore
from tests.local_transport import LocalTransport

KEY = b"/registry/core/secrets/default/a"
ONE, TWO = bytes(range(32)), bytes(range(1, 33))


def configuration(*providers: str, resources: str = "[secrets]") -> bytes:
    listed = "".join(f"\n  - {provider}" for provider in providers)
    return (
        "apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\nresources:\n"
        f"- resources: {resources}\n  providers:{listed}\n"
    ).encode()


def provider(kind: str, **keys: bytes) -> str:
    listed = ", ".join(f"{{name: {name}, secret: {base64.b64encode(key).decode()}}}" for name, key in keys.items())
    return f"{kind}: {{keys: [{listed}]}}"


def keys_of(path: Path, *providers: str, **options: str) -> EncryptionKeys:
    path = path / "encryption.yaml"
    path.write_bytes(configuration(*providers, **options))
    return EncryptionKeys(path)


async def raw(store: LocalStore, key: bytes = KEY) -> bytes:
    return (await store.range(key)).kvs[0].value


@pytest.mark.parametrize("kind", ["aesgcm", "aescbc", "secretbox"])
async def test_values_are_unreadable_below_and_readable_above(kind: str, store: LocalStore, tmp_path: Path):
    above = EncryptedStore(store, keys_of(tmp_path, provider(kind, key1=ONE)))
    async with above.watch(b"/registry/core/secrets/") as watch:
        revision = await above.put_if(KEY, b'{"a":1}', 0)
        batch = await anext(aiter(watch))
    assert (await raw(store)).startswith(f"k8s:enc:{kind}:v1:key1:".encode()) and b'"a"' not in await raw(store)
    assert (await above.range(KEY)).kvs[0].value == b'{"a":1}' == batch.events[0].kv.value
    with pytest.raises(Conflict) as conflict:
        await above.put_if(KEY, b"{}", revision + 7)
    assert conflict.value.current is not None and conflict.value.current.value == b'{"a":1}'
    await above.put_if(b"/registry/core/pods/default/a", b"{}", 0)
    assert await raw(store, b"/registry/core/pods/default/a") == b"{}"


async def test_aesgcm_is_upstreams_format_and_bound_to_its_place(store: LocalStore, tmp_path: Path):
    above = EncryptedStore(store, keys_of(tmp_path, provider("aesgcm", key1=ONE)))
    await above.put_if(KEY, b"{}", 0)
    sealed = (await raw(store)).removeprefix(b"k8s:enc:aesgcm:v1:key1:")
    assert AESGCM(ONE).decrypt(sealed[:12], sealed[12:], KEY) == b"{}"
    moved = b"/registry/core/secrets/default/b"
    await store.put_if(moved, await raw(store), 0)
    with pytest.raises(
        ApiError, match=r'unable to transform key "/registry/core/secrets/default/b": aesgcm key "key1"'
    ):
        await above.range(moved)


async def test_a_missing_or_another_key_is_named(store: LocalStore, tmp_path: Path):
    await EncryptedStore(store, keys_of(tmp_path, provider("aesgcm", key1=ONE))).put_if(KEY, b"{}", 0)
    for providers, said in (
        ([provider("aesgcm", key1=TWO)], 'aesgcm key "key1" does not open it'),
        ([provider("aesgcm", other=ONE)], 'written with aesgcm key "key1", and no key of that name'),
        ([provider("secretbox", key1=ONE), "identity: {}"], 'written with aesgcm key "key1".*no matching prefix found'),
        (["identity: {}"], 'written with aesgcm key "key1"'),
    ):
        with pytest.raises(ApiError, match=said) as caught:
            await EncryptedStore(store, keys_of(tmp_path, *providers)).range(KEY)
        assert caught.value.code == 500


async def test_the_first_writes_and_all_read(store: LocalStore, tmp_path: Path):
    await EncryptedStore(store, keys_of(tmp_path, "identity: {}")).put_if(KEY, b"{}", 0)
    for first, rest in (
        (provider("aesgcm", key1=ONE), ["identity: {}"]),
        (provider("aesgcm", key2=TWO, key1=ONE), []),
        (provider("secretbox", key1=ONE), [provider("aesgcm", key2=TWO)]),
        ("identity: {}", [provider("secretbox", key1=ONE)]),
    ):
        above = EncryptedStore(store, keys_of(tmp_path, first, *rest))
        (found,) = (await above.range(KEY)).kvs
        assert isinstance(found, encryption.Stale)
        await above.put_if(KEY, found.value, found.mod_revision)
        assert not isinstance((await above.range(KEY)).kvs[0], encryption.Stale)


def test_kinds_are_chosen_by_the_first_entry_that_names_them():
    found = parse(
        configuration(provider("aesgcm", key1=ONE), resources="[secrets, '*.apps', pandas.example.org]")
        + b"- resources: ['*.*']\n  providers: [{identity: {}}]\n"
    )

    def seals(key: str) -> bool:
        providers = found.providers_of(key.encode())
        assert providers is not None
        return providers.encrypt(b"{}", b"") != b"{}"

    assert seals("/registry/core/secrets/default/a") and seals("/registry/apps/deployments/default/a")
    assert seals("/registry/example.org/pandas/a") and not seals("/registry/core/pods/default/a")
    assert found.providers_of(b"/registry/ranges/clusterips/1") is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"a: [", "not YAML at line 1"),
        (b"kind: Pod\napiVersion: v1\nresources: []", "should be apiVersion apiserver.config.k8s.io/v1"),
        (configuration("kms: {name: x}"), r"resources\[0\].providers\[0\].kms: .* not supported"),
        (configuration("aesgcm: {keys: []}"), r"providers\[0\].aesgcm.keys: at least one key"),
        (configuration("aesgcm: {keys: [{name: a, secret: '%%'}]}"), r"keys\[0\].secret: it is not base64"),
        (configuration(provider("secretbox", a=b"12")), "secretbox takes a key of 32 bytes, and this one has 2"),
        (configuration("identity: {}", resources="[Secrets]"), "no capital letters"),
        (configuration("identity: {}", resources="['*']"), "use '\\*.' for all of the core group"),
        (configuration("identity: {}, aesgcm: {keys: []}"), "not YAML"),
        (configuration("{identity: {}, aesgcm: {keys: []}}"), "exactly one provider"),
        (configuration("{rot13: {}}"), "unknown field `rot13`"),
    ],
)
def test_what_is_wrong_with_a_configuration_is_said_with_its_place(text: bytes, said: str):
    with pytest.raises(BadConfiguration, match=said):
        parse(text)


async def test_a_changed_file_is_read_again_and_a_broken_one_ignored(tmp_path: Path, caplog):
    keys, path = keys_of(tmp_path, "identity: {}"), tmp_path / "encryption.yaml"
    before = keys.current
    for _ in range(2):
        path.write_bytes(b"kind: [")
        await keys.reload(path)
        assert keys.current is before
    assert caplog.text.count("cannot be reloaded") == 1
    path.write_bytes(configuration(provider("aesgcm", key1=ONE)))
    await keys.reload(path)
    assert keys.current is not before


async def test_a_value_under_a_new_key_is_read_before_the_file_is_looked_at_again(store: LocalStore, tmp_path: Path):
    behind = keys_of(tmp_path, provider("aesgcm", key1=ONE))
    ahead = keys_of(tmp_path, provider("aesgcm", key2=TWO, key1=ONE))
    await EncryptedStore(store, ahead).put_if(KEY, b"{}", 0)
    assert (await EncryptedStore(store, behind).range(KEY)).kvs[0].value == b"{}"


@pytest.fixture
def store() -> LocalStore:
    """Empty: nothing was written in plain text."""
    return LocalStore()


async def serving(store: LocalStore, keys: EncryptionKeys) -> tuple[Api, Client, asyncio.Task[None]]:
    api = build(EncryptedStore(store, keys), RealClock(), random.Random(1))
    task = asyncio.create_task(api.run())
    await api.wait_ready()
    await bootstrap(api.registries)
    return api, Client(LocalTransport(api)), task


async def test_an_update_that_changes_nothing_rewrites_what_a_former_key_wrote(store: LocalStore, tmp_path: Path):
    _, client, task = await serving(store, keys_of(tmp_path, provider("aesgcm", key1=ONE)))
    made = await client.create(secrets.RESOURCE, Secret(metadata=ObjectMeta(name="a", namespace="default")))
    task.cancel()
    both = keys_of(tmp_path, provider("aesgcm", key2=TWO, key1=ONE))
    _, client, task = await serving(store, both)
    first = await client.update(secrets.RESOURCE, made)
    again = await client.update(secrets.RESOURCE, first)
    assert made.metadata.resource_version != first.metadata.resource_version == again.metadata.resource_version
    assert (await raw(store)).startswith(b"k8s:enc:aesgcm:v1:key2:")
    task.cancel()


async def test_without_its_key_a_kind_cannot_be_read_and_the_others_can(store: LocalStore, tmp_path: Path):
    _, client, task = await serving(store, keys_of(tmp_path, provider("aesgcm", key1=ONE)))
    await client.create(secrets.RESOURCE, Secret(metadata=ObjectMeta(name="a", namespace="default")))
    task.cancel()
    api, client, task = await serving(store, keys_of(tmp_path, "identity: {}"))
    assert api.registries.unready() == []
    with pytest.raises(ApiError, match='aesgcm key "key1"'):
        await client.list(secrets.RESOURCE)
    with pytest.raises(ApiError, match='aesgcm key "key1"'):
        await client.get(secrets.RESOURCE, ObjectKey("default", "a"))
    task.cancel()
