"""Which kubeconfigs a measurement can use."""

import base64
import ssl
from pathlib import Path

import pytest
import yaml

from lab.bench import kubeconfig
from lab.bench.steer import BenchFailed


def _write(directory: Path, cluster: dict[str, object], user: dict[str, object]) -> Path:
    path = directory / "config"
    config = {
        "clusters": [{"name": "c", "cluster": {"server": "https://one.example:6443/", **cluster}}],
        "users": [{"name": "u", "user": user}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "x",
    }
    path.write_text(yaml.safe_dump(config))
    return path


def test_inline_credentials_are_read(tmp_path: Path) -> None:
    inline = base64.b64encode(b"PEM").decode()
    found = kubeconfig.read(
        _write(
            tmp_path,
            {"certificate-authority-data": inline},
            {"client-certificate-data": inline, "client-key-data": inline},
        )
    )
    assert (found.ca, found.cert, found.key, found.server) == (b"PEM", b"PEM", b"PEM", "https://one.example:6443")
    assert found.server_name == "one.example" and found.verify


def test_files_are_found_beside_the_kubeconfig(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_bytes(b"CA")
    (tmp_path / "token").write_text("secret\n")
    found = kubeconfig.read(_write(tmp_path, {"certificate-authority": "ca.pem"}, {"tokenFile": "token"}))
    assert (found.ca, found.token) == (b"CA", "secret")


def test_a_server_may_be_believed_unseen_and_a_certificate_be_of_another_name(tmp_path: Path) -> None:
    found = kubeconfig.read(
        _write(tmp_path, {"insecure-skip-tls-verify": True, "tls-server-name": "two.example"}, {"token": "t"})
    )
    assert found.server_name == "two.example"
    assert found.context().verify_mode is ssl.CERT_NONE


@pytest.mark.parametrize(
    ("cluster", "user", "said"),
    [
        ({}, {"exec": {"command": "login"}}, "users[u].exec: not supported"),
        ({"server": "http://one.example"}, {}, "is not https://HOST:PORT"),
        ({"certificate-authority": "gone.pem"}, {}, "certificate-authority: [Errno 2]"),
        ({"certificate-authority-data": "%%"}, {}, "certificate-authority: "),
    ],
)
def test_what_cannot_be_used_is_refused_by_name(
    tmp_path: Path, cluster: dict[str, object], user: dict[str, object], said: str
) -> None:
    with pytest.raises(BenchFailed) as refused:
        kubeconfig.read(_write(tmp_path, cluster, user))
    assert said in str(refused.value)


def test_a_context_that_is_not_there_is_named(tmp_path: Path) -> None:
    path = _write(tmp_path, {}, {})
    path.write_text(path.read_text().replace("current-context: x", "current-context: y"))
    with pytest.raises(BenchFailed, match="contexts: there is none named 'y'"):
        kubeconfig.read(path)


def test_an_authority_that_is_none_is_one_line(tmp_path: Path) -> None:
    inline = base64.b64encode(b"no certificate").decode()
    with pytest.raises(BenchFailed, match="kubeconfig of https://one.example:6443"):
        kubeconfig.read(_write(tmp_path, {"certificate-authority-data": inline}, {})).context()
