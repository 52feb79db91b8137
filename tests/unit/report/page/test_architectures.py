"""Tests of harness.report.page.architectures."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.records.accuracy_file import read_expected
from harness.report.page.architectures import ARCHITECTURES, architecture_of

ENTRIES = read_expected(Path(__file__).parents[4] / "expected_accuracy.yaml")


@pytest.mark.parametrize("model", sorted({entry.spec.model for entry in ENTRIES}))
def test_every_model_of_the_file_has_a_family(model: str) -> None:
    """All of torchvision's, and the example from elsewhere."""
    assert architecture_of(model) is not None


@pytest.mark.parametrize(
    ("model", "family"),
    [
        ("resnext50_32x4d", "resnext"),
        ("wide_resnet50_2", "wide_resnet"),
        ("resnet18", "resnet"),
        ("swin_v2_b", "swin_v2"),
        ("swin_b", "swin"),
        ("efficientnet_lite0", "efficientnet_lite"),
        ("vit_b_16", "vit"),
    ],
)
def test_the_longest_name_wins(model: str, family: str) -> None:
    """So that a successor is not taken for its ancestor."""
    assert architecture_of(model) == ARCHITECTURES[family]
