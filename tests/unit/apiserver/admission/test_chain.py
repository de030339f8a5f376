from __future__ import annotations

import re
from types import SimpleNamespace
from typing import Any

import pytest

from api.certificates import certificatesigningrequest as csr
from api.core import configmap
from api.errors import Forbidden
from apiserver.admission.always_admit import AlwaysAdmit
from apiserver.admission.certificates import Certificates
from apiserver.admission.chain import AdmissionChain
from apiserver.admission.metrics import plugin_durations
from apiserver.admission.namespace_exists import NamespaceExists
from apiserver.request import AdmissionRequest, User
from component.metrics import render


class ResourceQuotaAdmission:
    """Under another name at upstream's."""

    async def admit(self, request: AdmissionRequest) -> None: ...
    async def validate(self, request: AdmissionRequest) -> None:
        raise Forbidden("no")


class LimitRanger:
    async def admit(self, request: AdmissionRequest) -> None: ...
    async def validate(self, request: AdmissionRequest) -> None: ...


class Setter:
    async def admit(self, request: AdmissionRequest) -> None: ...


def request(operation: str) -> Any:
    return AdmissionRequest(operation, configmap.RESOURCE, "a", "b", "", User("u"), None, None, {}, False, [])


async def test_each_plugin_is_timed_under_upstreams_name():
    durations, times = plugin_durations(), iter(range(100))
    chain = AdmissionChain([LimitRanger(), ResourceQuotaAdmission()], durations, lambda: float(next(times)))
    await chain.admit(request("CREATE"))
    with pytest.raises(Forbidden):
        await chain.validate(request("CREATE"))
    shown = [line for line in render([durations]).decode().splitlines() if "_count" in line]
    name = "apiserver_admission_controller_admission_duration_seconds_count"
    assert sorted(shown) == sorted(
        [
            f'{name}{{name="LimitRanger",operation="CREATE",rejected="false",type="admit"}} 1',
            f'{name}{{name="ResourceQuota",operation="CREATE",rejected="false",type="admit"}} 1',
            f'{name}{{name="LimitRanger",operation="CREATE",rejected="false",type="validate"}} 1',
            f'{name}{{name="ResourceQuota",operation="CREATE",rejected="true",type="validate"}} 1',
        ]
    )


async def test_a_plugin_is_asked_and_timed_only_for_what_it_does():
    durations = plugin_durations()
    chain = AdmissionChain([AlwaysAdmit(), NamespaceExists(None, None), Setter()], durations)
    asked = request("CONNECT")
    await chain.admit(asked)
    await chain.validate(asked)
    timed = [line for line in render([durations]).decode().splitlines() if "_count" in line]
    found = {tuple(re.findall(r'(?:name|type)="(\w+)"', line)) for line in timed}
    assert found == {
        ("AlwaysAdmit", "admit"),
        ("AlwaysAdmit", "validate"),
        ("NamespaceExists", "validate"),
        ("Setter", "admit"),
    }


async def test_a_decision_about_a_certificate_is_dated_as_it_was_made_and_as_it_changed():
    def made(**condition: str) -> csr.CertificateSigningRequest:
        said = csr.CertificateSigningRequestCondition(type="Approved", status="True", **condition)
        return csr.CertificateSigningRequest(status=csr.CertificateSigningRequestStatus(conditions=[said]))

    plugin, now = Certificates(SimpleNamespace(now=lambda: 60.0)), "1970-01-01T00:01:00Z"
    for new, old, wanted in (
        (made(), csr.CertificateSigningRequest(), (now, now)),
        (made(), made(last_transition_time="a", last_update_time="b"), (now, "a")),
        (made(last_update_time="u", last_transition_time="t"), csr.CertificateSigningRequest(), ("u", "t")),
    ):
        asked = AdmissionRequest("UPDATE", csr.RESOURCE, "", "x", "approval", User("u"), new, old, {}, False, [])
        await plugin.admit(asked)
        (condition,) = new.status.conditions
        assert (condition.last_update_time, condition.last_transition_time) == wanted
