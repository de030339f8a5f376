"""What can name an image, and what it is called in full."""

from __future__ import annotations

import pytest

from kubelet.runtime.images import is_reference, normalize

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
    assert is_reference(image)


@pytest.mark.parametrize("image", ["", "r.example/BAD:1", "web::1", "web:", "-web", "web@sha256:12", "a b", "web:1\n"])
def test_what_breaks_the_grammar_names_no_image(image: str):
    assert not is_reference(image)


def test_short_names_are_completed():
    assert normalize("web") == "docker.io/library/web:latest"
    assert normalize("me/web:1") == "docker.io/me/web:1"
    assert normalize("localhost/web") == "localhost/web:latest"
