"""Tests of harness.reporting.environment."""

from __future__ import annotations

import subprocess
import sys
from importlib import metadata

import PIL
import pytest
from PIL import features

from harness.reporting.environment import versions


def test_versions_are_those_of_what_is_installed() -> None:
    """Each package that decides pixels or arithmetic is there with its installed version, Pillow's JPEG library too."""
    actual = versions()

    expected = {
        "torch": getattr(sys.modules.get("torch"), "__version__", metadata.version("torch")),
        "torchvision": getattr(sys.modules.get("torchvision"), "__version__", metadata.version("torchvision")),
        "numpy": metadata.version("numpy"),
        "pillow": PIL.__version__,
        "libjpeg-turbo": actual["libjpeg-turbo"],
    }
    assert expected == actual
    assert list(expected) == list(actual)


@pytest.mark.parametrize(("found", "expected"), [("3.1.2", "3.1.2"), (None, "none")])
def test_libjpeg_turbo_may_be_missing(found: str | None, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A Pillow that was built with another JPEG library is told from one whose version is known."""
    monkeypatch.setattr(features, "version_feature", {"libjpeg_turbo": found}.get)

    actual = versions()["libjpeg-turbo"]

    assert expected == actual


def test_versions_need_no_torch(pytestconfig: pytest.Config) -> None:
    """The versions are read without importing torch, which takes seconds."""
    program = (
        "import sys\n"
        "from harness.reporting.environment import versions\n"
        "versions()\n"
        "print(sorted({'torch', 'torchvision'} & sys.modules.keys()))\n"
    )

    actual = subprocess.run(
        [sys.executable, "-c", program], cwd=pytestconfig.rootpath, capture_output=True, text=True, check=True
    ).stdout

    expected = "[]\n"
    assert expected == actual


def test_pillow_simd_is_told_not_stumbled_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where PIL comes from another distribution (pillow-simd), the versions are still there."""
    installed = metadata.version

    def without_pillow(name: str) -> str:
        if name == "pillow":
            raise metadata.PackageNotFoundError(name)
        return installed(name)

    monkeypatch.setattr(metadata, "version", without_pillow)

    assert "pillow" in versions()
