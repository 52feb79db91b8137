"""The families of models: the year of each, and its idea."""

from __future__ import annotations

import json
from pathlib import Path

ARCHITECTURES: dict[str, tuple[int, str]] = {
    family: (year, idea)
    for family, (year, idea) in json.loads(Path(__file__).with_suffix(".json").read_text(encoding="utf-8")).items()
}
"""The year of a family's first paper, and its idea, by the beginning of torchvision's names."""


def architecture_of(model: str) -> tuple[int, str] | None:
    """Return the year and idea of a model's family, that with the longest matching name; None if it has none.

    >>> architecture_of("resnet18"), architecture_of("own")
    ((2015, 'residual shortcuts'), None)
    """
    matching = [name for name in ARCHITECTURES if model.startswith(name)]
    return ARCHITECTURES[max(matching, key=len)] if matching else None
