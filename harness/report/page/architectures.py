"""The families of models: the year of each, and its idea."""

from __future__ import annotations

from pathlib import Path

import msgspec

ARCHITECTURES = msgspec.json.decode(Path(__file__).with_suffix(".json").read_bytes(), type=dict[str, tuple[int, str]])
"""The year of a family's first paper, and its idea, by the beginning of torchvision's names."""


def architecture_of(model: str) -> tuple[int, str] | None:
    """Return the year and idea of a model's family, that with the longest matching name; None if it has none.

    >>> architecture_of("resnet18"), architecture_of("own")
    ((2015, 'residual shortcuts'), None)
    """
    matching = [name for name in ARCHITECTURES if model.startswith(name)]
    return ARCHITECTURES[max(matching, key=len)] if matching else None
