"""The crops that a run keeps for pictures: those of its smallest margins, which change first, or its baseline's."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from harness.errors import RecordError
from harness.records.results import CaseResult
from harness.records.run_folder import CROP_SIDE, CROPS, Run, array_file, read_run, write_arrays

if TYPE_CHECKING:
    from harness.evaluator import Evaluator
    from harness.expected import Case
    from harness.predictions import Predictions

_KEPT = 20


def crops_of(run: Run, case: CaseResult) -> dict[str, NDArray[np.uint8]]:
    """Return the (112, 112, 3) pictures that a run keeps of a case, by image id; none in a run that keeps none."""
    path = array_file(run.path, CROPS, case.id)
    if not path.exists():
        return {}
    ids, pixels = run.arrays(CROPS, path).values()
    return dict(zip(ids.tolist(), pixels, strict=True))


class CropsPlugin:
    """The pytest plugin object of a run that is kept, which may have a baseline."""

    def __init__(self, staging: Callable[[], Path | None], baseline: Path | None) -> None:
        self._staging, self._baseline = staging, baseline
        self._before: Run | None = None
        self._cases: dict[str, Case] = {}

    def pytest_imagenet_opened(self, evaluator: Evaluator, cases: tuple[Case, ...]) -> None:
        """Note the cases, and read the baseline."""
        self._evaluator, self._cases = evaluator, {str(case): case for case in cases}
        with suppress(RecordError):  # without it only other pictures are kept
            self._before = read_run(self._baseline) if self._baseline else None

    def pytest_imagenet_check(self, result: CaseResult, predictions: Predictions) -> None:
        """Keep pictures of a case, if this process has its images and logits; they are no evidence."""
        staging, shard = self._staging(), self._evaluator.shard
        if staging is None or predictions.logits is None or predictions.logits.shape[1] < 2:
            return
        before: dict[str, NDArray[np.uint8]] = {}
        with suppress(RecordError):  # without them only other pictures are kept
            before = crops_of(self._before, result) if self._before else {}
        margins = predictions.logits[:, 0] - predictions.logits[:, 1]
        indices = predictions.indices_of(np.array(shard.ids))
        order = sorted(range(len(shard)), key=lambda row: (shard.ids[row] not in before, margins[indices[row]]))
        crops, rows = self._evaluator.crops(self._cases[result.id].spec), sorted(order[:_KEPT])
        pixels = [_smaller(crops.read(slice(row, row + 1))[0]) for row in rows]
        ids = np.array([shard.ids[row] for row in rows])
        write_arrays(array_file(staging, CROPS, result.id), {"ids": ids, "pixels": np.stack(pixels)})


def _smaller(crop: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return every second pixel or so of a crop: their values stay as they were, so that differences do."""
    rows = np.arange(CROP_SIDE) * len(crop) // CROP_SIDE
    return crop[rows][:, rows]
