"""Versions of what decides the pixels and the arithmetic, as facts."""

from __future__ import annotations

import sys
from importlib import metadata

import PIL
from PIL import features

PACKAGES = ("torch", "torchvision", "numpy")


def versions() -> dict[str, str]:
    """Return the installed versions by name, with the build where a package is imported; none is imported for it."""
    found = {name: getattr(sys.modules.get(name), "__version__", metadata.version(name)) for name in PACKAGES}
    # Not from the metadata: a Pillow with SIMD is another distribution.
    found["pillow"] = PIL.__version__
    found["libjpeg-turbo"] = features.version_feature("libjpeg_turbo") or "none"  # type: ignore[no-untyped-call,unused-ignore]
    return found
