"""What a model should score: published or recorded hits, and the tolerance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal

from harness.data import imagenet
from harness.evaluation.spec import ModelSpec
from harness.gate.scores import METRICS, NAMES, TopK

ORIGINS = ("published", "recorded")


@dataclass(frozen=True)
class Expected:
    """What a model should score on one split.

    Attributes:
        hits: of all images of the split, the published percentages to the nearest image.
        tolerance: in percentage points, for both metrics and both directions.
        origin: ``published`` by the model's authors, or ``recorded`` by an earlier run of this harness.
        tolerances: of other precisions than fp32, by name, where they have one of their own.
    """

    hits: TopK
    tolerance: Decimal
    origin: str
    tolerances: tuple[tuple[str, Decimal], ...] = ()

    @property
    def tolerance_hits(self) -> int:
        """The tolerance in whole images."""
        return int(self.tolerance * self.hits.n / 100)

    def at(self, precision: str) -> Expected:
        """Return what is expected in that precision: the same hits, within its own tolerance."""
        return replace(self, tolerance=dict(self.tolerances).get(precision, self.tolerance), tolerances=())


@dataclass(frozen=True)
class Entry:
    """A model, its weights, what they should score, by split, and where that is written."""

    spec: ModelSpec
    by_split: tuple[tuple[str, Expected], ...]
    where: str = field(default="", compare=False)

    def expected_on(self, split: str) -> Expected | None:
        """Return what is expected on the split of that name, or None if nothing was published."""
        return dict(self.by_split).get(split)

    def at(self, precision: str) -> Entry:
        """Return the entry with the tolerances of that precision."""
        return replace(self, by_split=tuple((split, expected.at(precision)) for split, expected in self.by_split))

    @property
    def splits(self) -> tuple[str, ...]:
        """Names of the splits with expected values."""
        return tuple(name for name, _ in self.by_split)


def disagreements(entries: Sequence[Entry], published: Mapping[str, tuple[float, float]]) -> list[str]:
    """Say where the values on imagenet-1k differ from ``published``, and which weights only one of the two has.

    Args:
        entries: the file's; those with a builder are not torchvision's and are left out.
        published: acc@1 and acc@5 in percent, by id.
    """
    ours = {
        str(entry.spec): expected
        for entry in entries
        if entry.spec.builder is None and (expected := entry.expected_on(imagenet.NAME))
    }
    lines = [f"{name}: in the file, not in torchvision" for name in ours if name not in published]
    for name, accuracies in published.items():
        if name not in ours:
            lines.append(f"{name}: {accuracies} in torchvision, no values for {imagenet.NAME} in the file")
            continue
        for metric, accuracy in zip(METRICS, accuracies, strict=True):
            here = ours[name].hits
            if here.hits(metric) != round(accuracy * here.n / 100):
                lines.append(
                    f"{name}: {NAMES[metric]} is {here.percent(metric)} in the file, {accuracy} in torchvision"
                )
    return lines
