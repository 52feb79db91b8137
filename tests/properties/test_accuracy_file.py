"""A published percentage means one count of images."""

from __future__ import annotations

import tempfile
from decimal import Decimal
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from harness.records.accuracy_file import read_expected
from harness.records.evidence import Counts, Expected

FILE = """
schema_version: 2
tolerance: {tolerance}
datasets:
  own: {{images: {images}, source: counted}}
models:
  - model: resnet18
    weights: V1
    own: {{acc@1: {acc1:.3f}, acc@5: {acc5:.3f}}}
"""


@st.composite
def counts(draw: st.DrawFn) -> Counts:
    """Draw counts; less than 1 %, and 1 % itself, would be taken for a fraction."""
    images = draw(st.integers(1, 50_000))
    top1, top5 = sorted(draw(st.tuples(*[st.integers(images // 99 + 1, images)] * 2)))
    return Counts(images, top1, top5)


@given(counts=counts(), tolerance=st.decimals(0, 100, places=3))
def test_three_digits_give_the_count_back(counts: Counts, tolerance: Decimal) -> None:
    """Of up to as many images as ImageNet's validation set has, with the tolerance as it was written."""
    percent = {"acc1": 100 * counts.top1 / counts.images, "acc5": 100 * counts.top5 / counts.images}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "expected.yaml"
        path.write_text(FILE.format(images=counts.images, tolerance=tolerance, **percent))

        [entry] = read_expected(path)

    assert Expected(counts, tolerance) == entry.expected_on("own")
