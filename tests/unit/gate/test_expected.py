"""Tests of harness.gate.expected."""

from __future__ import annotations

from decimal import Decimal

import pytest

from harness.evaluation.spec import ModelSpec
from harness.gate.expected import Entry, Expected, disagreements
from harness.gate.scores import TopK


def _entry(model: str, *by_split: tuple[str, Expected], builder: str | None = None) -> Entry:
    return Entry(ModelSpec(model, "V1", builder), by_split)


def _expected(images: int, top1: int = 0, top5: int = 0, tolerance: str = "0.05") -> Expected:
    return Expected(TopK(images, top1, top5), Decimal(tolerance), "published")


@pytest.mark.parametrize(
    ("tolerance", "images", "expected"),
    [
        ("0.05", 50_000, 25),
        ("0.05", 10_000, 5),
        # In binary floating point each of these is a hair below the whole number: 28.999999999999996 and so on.
        ("0.29", 10_000, 29),
        ("0.57", 10_000, 57),
        ("0.07", 50_000, 35),
        ("1.1", 10_000, 110),
        # What is not a whole number of images allows the images below it, no more.
        ("0.0519", 50_000, 25),
        ("0.05", 1_999, 0),
        ("0.05", 2_000, 1),
        ("0.4", 500, 2),
        ("0", 50_000, 0),
        ("100", 50_000, 50_000),
    ],
)
def test_tolerance_hits(tolerance: str, images: int, expected: int) -> None:
    """The tolerance in whole images is exact, rounded down."""
    actual = _expected(images, tolerance=tolerance).tolerance_hits

    assert expected == actual


def test_entry_finds_what_is_expected_by_the_name_of_the_split() -> None:
    """A split's values are its own; a split that the entry does not name has none."""
    first, second = _expected(50_000, 1, 2), _expected(10_000, 3, 4)
    entry = _entry("net", ("imagenet-1k", first), ("imagenetv2", second))

    actual = [(name, entry.expected_on(name)) for name in (*entry.splits, "imagenet")]

    expected = [("imagenet-1k", first), ("imagenetv2", second), ("imagenet", None)]
    assert expected == actual


def test_no_disagreement() -> None:
    """Percentages agree if they are the same whole number of images; other splits and builders do not matter."""
    entries = [
        _entry("resnet18", ("imagenet-1k", _expected(50_000, 34_879, 44_539)), ("other", _expected(10, 1, 2))),
        # 64.002 % of 50,000 is 32000.999999999996 in binary floating point.
        _entry("vgg0", ("imagenet-1k", _expected(50_000, 32_001, 32_032))),
        _entry("own", ("imagenet-1k", _expected(50_000, 1, 2)), builder="own:net"),
        _entry("rendered", ("embedded", _expected(500, 1, 2))),
    ]

    actual = disagreements(entries, {"resnet18-V1": (69.758, 89.078), "vgg0-V1": (64.002, 64.064)})

    assert not actual


def test_disagreements_name_model_metric_and_both_values() -> None:
    """One image of difference is told, for each metric on its own; so are weights that only one side has."""
    entries = [
        _entry("gone", ("imagenet-1k", _expected(50_000, 25_000, 40_000))),
        _entry("one", ("imagenet-1k", _expected(50_000, 34_880, 44_539))),
        _entry("two", ("imagenet-1k", _expected(50_000, 34_879, 44_538))),
    ]
    published = {"new-V1": (80.858, 95.434), "one-V1": (69.758, 89.078), "two-V1": (69.758, 89.078)}

    actual = disagreements(entries, published)

    expected = [
        "gone-V1: in the file, not in torchvision",
        "new-V1: (80.858, 95.434) in torchvision, no values for imagenet-1k in the file",
        "one-V1: top-1 is 69.76 in the file, 69.758 in torchvision",
        "two-V1: top-5 is 89.076 in the file, 89.078 in torchvision",
    ]
    assert expected == actual
