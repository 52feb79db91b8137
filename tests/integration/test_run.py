"""Tests of harness.run: what a case's record says of its pixels."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import xxhash

from harness.data.decode import crop_image
from harness.data.layouts import open_split
from harness.data.preset import Geometry
from harness.evaluation.setting import DEFAULT
from harness.gate.cases import select_cases
from harness.gate.expected_file import read_expected
from harness.run import Run
from tests.colours import EXPECTED, TOP1, TOP5, write_split


@pytest.mark.parametrize("keep", [True, False])
def test_the_record_holds_the_digest_of_the_pixels(keep: bool, tmp_path: Path) -> None:
    """It is that of the crops which the model saw, whether they are kept or not, and says so beside the hits."""
    write_split(tmp_path / "colours")
    (tmp_path / "expected.yaml").write_text(EXPECTED)
    [case] = select_cases(read_expected(tmp_path / "expected.yaml"), ["all"], [DEFAULT], embedded=False)
    store = tmp_path / "store" if keep else None

    with Run(
        str(tmp_path / "colours"),
        device="cpu",
        batch_size=5,
        limit=None,
        decoder="pillow",
        precisions=["fp32"],
        workers=1,
        store=store,
    ) as run:
        record = run.evaluate(case, lambda *_: None)

    sources = open_split(str(tmp_path / "colours")).sources
    crops = [crop_image(source.read(), Geometry(8, 8, "bilinear")).tobytes() for source in sources]
    expected = hashlib.sha256(b"".join(map(xxhash.xxh3_128_digest, crops))).hexdigest()
    assert expected == record.inputs_digest
    assert (record.measured.top1, record.measured.top5, record.note) == (TOP1, TOP5, "")
