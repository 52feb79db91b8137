"""Versions of what decides the pixels and the arithmetic, as facts."""

from __future__ import annotations

import sys
from importlib import metadata

from harness.data.decoder import libjpeg_turbo_version, pillow_version

PACKAGES = ("torch", "torchvision", "numpy")


def versions() -> dict[str, str]:
    """Return the installed versions by name, with the build where a package is imported; none is imported for it."""
    found = {name: getattr(sys.modules.get(name), "__version__", metadata.version(name)) for name in PACKAGES}
    found["pillow"] = pillow_version()
    found["libjpeg-turbo"] = libjpeg_turbo_version()
    return found
