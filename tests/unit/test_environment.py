"""Tests of the versions in harness.records.environment."""

from __future__ import annotations

import sys
from importlib import metadata

import PIL
import pytest
from PIL import features

from harness.records.environment import versions


def test_versions_are_those_of_what_is_installed() -> None:
    """Each package that decides pixels or arithmetic, and Pillow's JPEG library."""
    found = versions()

    assert found == {
        **{
            name: getattr(sys.modules.get(name), "__version__", metadata.version(name))
            for name in ("torch", "torchvision")
        },
        "numpy": metadata.version("numpy"),
        "pillow": PIL.__version__,
        "libjpeg-turbo": found["libjpeg-turbo"],
    }


@pytest.mark.parametrize(("found", "expected"), [("3.1.2", "3.1.2"), (None, "none")])
def test_libjpeg_turbo_may_be_missing(found: str | None, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A Pillow that was built with another JPEG library has no version of this one."""
    monkeypatch.setattr(features, "version_feature", {"libjpeg_turbo": found}.get)

    assert versions()["libjpeg-turbo"] == expected


def test_pillow_may_come_from_another_distribution(monkeypatch: pytest.MonkeyPatch) -> None:
    """As pillow-simd, which has no metadata of that name."""
    installed = metadata.version

    def without_pillow(name: str) -> str:
        if name == "pillow":
            raise metadata.PackageNotFoundError(name)
        return installed(name)

    monkeypatch.setattr(metadata, "version", without_pillow)

    assert versions()["pillow"] == PIL.__version__
