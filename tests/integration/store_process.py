"""A real `steer-store` on loopback, with throw-away certificates, for integration tests."""

from __future__ import annotations

import datetime
import ipaddress
import os
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from component.serve import Identity
from tests.integration.unstarved_clock import stolen_s, waited_s
from tests.ports import free_port

ROOT = Path(__file__).parents[2]


class Authority:
    """A certificate authority for one test."""

    def __init__(self, directory: Path, name: str = "test-ca") -> None:
        self.directory = directory
        directory.mkdir(parents=True, exist_ok=True)
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        cert = self._builder(self._name, self._key).add_extension(x509.BasicConstraints(True, None), True)
        self.ca = directory / "ca.crt"
        self.ca.write_bytes(cert.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))

    def issue(self, name: str, attribute: x509.ObjectIdentifier = NameOID.COMMON_NAME) -> Identity:
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(attribute, name)])
        names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
        cert = self._builder(subject, key).add_extension(x509.SubjectAlternativeName(names), False)
        paths = self.directory / f"{name}.crt", self.directory / f"{name}.key"
        paths[0].write_bytes(cert.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
        encoding = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        paths[1].write_bytes(key.private_bytes(*encoding))
        return Identity(paths[0], paths[1], self.ca)

    def _builder(self, subject, key):
        now = datetime.datetime.now(datetime.UTC)
        builder = x509.CertificateBuilder().subject_name(subject).issuer_name(self._name)
        builder = builder.public_key(key.public_key()).serial_number(x509.random_serial_number())
        return builder.not_valid_before(now - datetime.timedelta(hours=1)).not_valid_after(
            now + datetime.timedelta(days=1)
        )


class StoreProcess:
    """One member; `kill` and `start` again as often as needed."""

    def __init__(self, directory: Path, *flags: str) -> None:
        self.directory = directory
        authority = Authority(directory / "pki")
        self.server = authority.issue("store")
        self.client = authority.issue("steer-apiserver")
        self.stranger = authority.issue("stranger")
        self.nameless = authority.issue("nameless", NameOID.ORGANIZATION_NAME)
        """Without a common name, and so nobody in particular; admitted by `--allowed-clients '*'`."""
        self.port, self.health_port = free_port(), free_port()
        self.endpoint = f"127.0.0.1:{self.port}"
        self.flags = flags
        self.log = directory / "store.log"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> float:
        """Start, wait until it is ready, and return how many seconds that took, without those it had no CPU for."""
        began = time.monotonic()
        stolen = stolen_s()
        command = [
            *(sys.executable, "-m", "store", "--data-dir", self.directory / "data", "--listen-client", self.endpoint),
            *("--cert", self.server.cert, "--key", self.server.key, "--ca", self.server.ca),
            *("--health", f"127.0.0.1:{self.health_port}", *self.flags),
        ]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen([str(part) for part in command], cwd=ROOT, stderr=log, stdout=log)
        while b": serving" not in self.log.read_bytes()[self._seen() :]:
            if self.process.poll() is not None or time.monotonic() - began > 120:
                self.process.kill()
                raise AssertionError(f"the store did not start:\n{self.log.read_text()[-3000:]}")
            time.sleep(0.01)
        self._seen_bytes = self.log.stat().st_size
        return time.monotonic() - began - (waited_s(self.process.pid) or 0.0) - (stolen_s() - stolen)

    _seen_bytes = 0

    def _seen(self) -> int:
        return self._seen_bytes

    def kill(self) -> None:
        """kill -9."""
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self._seen_bytes = self.log.stat().st_size if self.log.exists() else 0

    def stop(self) -> tuple[int, float]:
        """SIGTERM; return the exit code and how many seconds it took."""
        assert self.process is not None
        began = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(30)
        self._seen_bytes = self.log.stat().st_size
        return code, time.monotonic() - began

    def resident_kb(self) -> int:
        assert self.process is not None
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS"):
                return int(line.split()[1])
        raise AssertionError

    def http(self, path: str) -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.health_port}{path}", timeout=5) as response:
            return response.read().decode()

    def etcdctl_command(self, *arguments: str, identity: Identity | None = None) -> list[str]:
        """Return how etcdctl is run against it."""
        who = identity or self.client
        command = ["etcdctl", f"--endpoints=https://{self.endpoint}", f"--cacert={who.ca}"]
        return [*command, f"--cert={who.cert}", f"--key={who.key}", *arguments]

    def etcdctl(self, *arguments: str, stdin: str | None = None, identity: Identity | None = None) -> str:
        """Run Debian's etcdctl against it; raises CalledProcessError with what it said."""
        command = self.etcdctl_command(*arguments, identity=identity)
        done = subprocess.run(
            command, env={**os.environ, "ETCDCTL_API": "3"}, input=stdin, capture_output=True, text=True, timeout=20
        )
        if done.returncode:
            raise subprocess.CalledProcessError(done.returncode, command, done.stdout, done.stderr)
        return done.stdout
