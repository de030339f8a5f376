"""What can name an image, and what it is called in full."""

from __future__ import annotations

import pytest

from kubelet.runtime.images import normalize, reference_flaw

DIGEST = "sha256:" + "0" * 64


@pytest.mark.parametrize(
    "image",
    [
        "web",
        "web:1",
        "library/web",
        "localhost:5000/web:v1.2_3",
        "r.example/a/b-c__d.e:T",
        f"web@{DIGEST}",
        "[::1]:5/w",
    ],
)
def test_references_of_every_form_are_known(image: str):
    assert not reference_flaw(image)


@pytest.mark.parametrize("image", ["", "r.example/BAD:1", "web::1", "web:", "-web", "web@sha256:12", "a b", "web:1\n"])
def test_what_breaks_the_grammar_names_no_image(image: str):
    assert reference_flaw(image)


def test_short_names_are_completed():
    assert normalize("web") == "docker.io/library/web:latest"
    assert normalize("me/web:1") == "docker.io/me/web:1"
    assert normalize("localhost/web") == "localhost/web:latest"


@pytest.mark.parametrize(
    ("image", "flaw"),
    [
        ("web:1:2", "invalid reference format"),
        ("Web:1", "invalid reference format: repository name (library/Web) must be lowercase"),
        ("registry.example/a/Web", "invalid reference format: repository name (a/Web) must be lowercase"),
        ("a" * 64, f"invalid repository name ({'a' * 64}), cannot specify 64-byte hexadecimal strings"),
    ],
)
def test_what_is_wrong_with_an_image_s_name_is_said(image: str, flaw: str):
    assert reference_flaw(image) == flaw
