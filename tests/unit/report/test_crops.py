"""Tests of harness.report.crops: which pictures a run keeps, and that they are what the model was shown."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from harness.predictions import Predictions
from harness.records.run_folder import CROP_SIDE, CROPS, Run, write_arrays
from harness.report.crops import CropsPlugin, crops_of
from tests.records import case_result, predictions_of, run_record, write_run

CASE = case_result()
KNOWN = predictions_of(CASE)
assert KNOWN.logits is not None
# The closest call last: margins of 1000, 999, ... thousandths.
LOGITS = np.column_stack([KNOWN.logits[:, 1] + np.arange(1000, 0, -1) / np.float32(1000), KNOWN.logits[:, 1:]])
CLOSER = replace(KNOWN, logits=LOGITS)


def _crop(row: int, side: int) -> Any:
    """Return a crop of which every pixel differs from its neighbors."""
    values = row + np.add.outer(np.arange(side), 3 * np.arange(side))
    return values[:, :, None].repeat(3, 2).astype(np.uint8)


def _kept(
    folder: Path,
    baseline: Path | None = None,
    predictions: Predictions = CLOSER,
    rows: slice = slice(0, 1000),
    side: int = 224,
) -> Any:
    """Return what a process keeps that has these rows of the images."""
    decoded = SimpleNamespace(read=lambda one: _crop(rows.start + one.start, side)[None])
    evaluator = SimpleNamespace(shard=KNOWN.at(np.arange(1000)[rows]), crops=lambda _spec: decoded)
    case = type("Case", (str,), {"spec": None})(CASE.id)
    plugin: Any = CropsPlugin(lambda: folder, baseline)
    plugin.pytest_imagenet_opened(evaluator, (case,))
    folder.mkdir(exist_ok=True)
    plugin.pytest_imagenet_check(CASE, predictions)
    return crops_of(Run(folder, run_record([CASE])), CASE)


@pytest.mark.parametrize(("rows", "side"), [(slice(0, 1000), 224), (slice(300, 700), 8), (slice(0, 1000), 299)])
def test_the_closest_calls_are_kept(rows: slice, side: int, tmp_path: Path) -> None:
    """Twenty of the images that a process has, their pixels unchanged: of a crop of 224 pixels every second."""
    kept = _kept(tmp_path / "run", rows=rows, side=side)

    assert KNOWN.ids[rows.stop - 20 : rows.stop].tolist() == list(kept)
    shown = [number * side // CROP_SIDE for number in range(CROP_SIDE)]
    assert (_crop(rows.stop - 1, side)[shown][:, shown] == kept[f"{rows.stop - 1:04}.JPEG"]).all()


def test_the_images_of_the_baseline_are_kept(tmp_path: Path) -> None:
    """So that both runs have the same; what is left of the number is the closest; damage stops nothing."""
    old = write_run(tmp_path / "old", run_record([CASE])).path
    ids = np.array(["0005.JPEG", "0007.JPEG", "gone.JPEG"])
    write_arrays(
        old / CROPS / f"{CASE.id}.npz", {"ids": ids, "pixels": np.zeros((3, CROP_SIDE, CROP_SIDE, 3), np.uint8)}
    )

    kept = _kept(tmp_path / "new", old)
    (old / CROPS / f"{CASE.id}.npz").write_bytes(b"damaged")
    others = [_kept(tmp_path / f"{number}", path) for number, path in enumerate((old, tmp_path / "none"))]

    assert ["0005.JPEG", "0007.JPEG", *KNOWN.ids[-18:]] == list(kept)
    assert [KNOWN.ids[-20:].tolist()] * 2 == list(map(list, others))


def test_without_logits_nothing_is_kept(tmp_path: Path) -> None:
    """There are no margins; a run without pictures is read as one."""
    assert {} == _kept(tmp_path / "run", predictions=replace(KNOWN, logits=None))
