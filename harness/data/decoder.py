"""Decoders by name; no torch, so that options can be read without it."""

from __future__ import annotations

from dataclasses import dataclass

import PIL
from PIL import features

DECODERS = ("pillow", "torchvision", "nvjpeg")


@dataclass(frozen=True)
class Decoder:
    """A decoder by name.

    Attributes:
        name: one of ``DECODERS``.
        device: where ``nvjpeg`` decodes; None for the others, which decode on the CPU.
    """

    name: str = "pillow"
    device: str | None = None


def pillow_version() -> str:
    """Return Pillow's version; not from the metadata, since a Pillow with SIMD is another distribution."""
    return PIL.__version__


def libjpeg_turbo_version() -> str:
    """Return the version of the libjpeg-turbo that Pillow uses, ``none`` if it uses another libjpeg."""
    return features.version_feature("libjpeg_turbo") or "none"  # type: ignore[no-untyped-call,unused-ignore]
