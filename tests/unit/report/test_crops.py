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
# The closest call last: margins of 1000, 999, ... thousandths.
PREDICTIONS = predictions_of(CASE)
MARGINS = np.arange(1000, 0, -1) / np.float32(1000)


def _closer() -> Predictions:
    assert PREDICTIONS.logits is not None
    logits = PREDICTIONS.logits.copy()
    logits[:, 0] = logits[:, 1] + MARGINS
    return replace(PREDICTIONS, logits=logits)


def _crop(row: int, side: int) -> Any:
    """Return a crop of which every pixel differs from its neighbours."""
    values = row + np.add.outer(np.arange(side), 3 * np.arange(side))
    return values[:, :, None].repeat(3, 2).astype(np.uint8)


def _kept(
    folder: Path, predictions: Predictions, baseline: Path | None, rows: slice, side: int = 224, cases: int = 1
) -> Any:
    """Return what a process keeps that has these rows of the images."""
    ids = PREDICTIONS.ids[rows].tolist()
    crops = SimpleNamespace(read=lambda one: np.stack([_crop(rows.start + one.start, side)]))
    shard = type("Shard", (), {"ids": ids, "__len__": lambda _: len(ids)})()
    evaluator: Any = SimpleNamespace(shard=shard, crops=lambda _spec: crops)
    plugin = CropsPlugin(lambda: folder, baseline)
    plugin.pytest_imagenet_opened(evaluator, ())
    plugin._cases = {CASE.id: SimpleNamespace(spec=None)}  # type: ignore[dict-item]
    folder.mkdir(exist_ok=True)
    for _ in range(cases):
        plugin.pytest_imagenet_check(CASE, predictions)
    return crops_of(Run(folder, run_record([CASE])), CASE)


@pytest.mark.parametrize("rows", [slice(0, 1000), slice(300, 700)], ids=["all", "of one rank"])
def test_the_closest_calls_are_kept(rows: slice, tmp_path: Path) -> None:
    """Twenty of the images that a process has, every second pixel unchanged."""
    kept = _kept(tmp_path / "run", _closer(), None, rows)

    assert PREDICTIONS.ids[rows.stop - 20 : rows.stop].tolist() == list(kept)
    assert (_crop(rows.stop - 1, 224)[::2, ::2] == kept[f"{rows.stop - 1:04}.JPEG"]).all()


def test_crops_of_any_size_have_one_shape(tmp_path: Path) -> None:
    """Larger and smaller than the picture."""
    for side in (8, 299):
        kept = _kept(tmp_path / f"{side}", _closer(), None, slice(0, 1000), side)

        crop, picture = _crop(999, side), kept["0999.JPEG"]
        assert (CROP_SIDE, CROP_SIDE, 3) == picture.shape
        assert (crop[0, 0] == picture[0, 0]).all()
        assert (crop[side // 2, side // 2] == picture[56, 56]).all()


def test_the_images_of_the_baseline_are_kept(tmp_path: Path) -> None:
    """So that both runs have the same; what is left of the number is the closest."""
    old = write_run(tmp_path / "old", run_record([CASE]), resnet18=PREDICTIONS)
    ids = np.array(["0005.JPEG", "0007.JPEG", "gone.JPEG"])
    pixels = np.zeros((3, CROP_SIDE, CROP_SIDE, 3), np.uint8)
    write_arrays(old.path / CROPS / f"{CASE.id}.npz", {"ids": ids, "pixels": pixels})

    kept = _kept(tmp_path / "new", _closer(), old.path, slice(0, 1000))

    assert ["0005.JPEG", "0007.JPEG", *PREDICTIONS.ids[-18:].tolist()] == list(kept)

    (old.path / CROPS / f"{CASE.id}.npz").write_bytes(b"damaged")  # no evidence, and stops nothing
    for folder in (old.path, tmp_path / "none"):
        kept = _kept(tmp_path / f"against {folder.name}", _closer(), folder, slice(0, 1000))
        assert PREDICTIONS.ids[-20:].tolist() == list(kept)


def test_the_baseline_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its record grows with its cases: reading it for each would take as long as their square."""
    old = write_run(tmp_path / "old", run_record([CASE]))
    read: list[Path] = []

    def noted(path: Path) -> Run:
        read.append(path)
        return old

    monkeypatch.setattr("harness.report.crops.read_run", noted)

    _kept(tmp_path / "run", _closer(), old.path, slice(0, 100), cases=3)

    assert [old.path] == read


def test_without_logits_nothing_is_kept(tmp_path: Path) -> None:
    """There are no margins; a run without pictures is read as one."""
    assert {} == _kept(tmp_path / "run", replace(PREDICTIONS, logits=None), None, slice(0, 1000))
