"""The results of several processes, each for its own images of a case, joined into the result of all images."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np

from harness.errors import EvaluationError
from harness.predictions import Predictions, concatenate
from harness.records.evidence import Counts
from harness.records.results import CaseResult


def join(parts: Sequence[tuple[CaseResult, Predictions] | None], ids: Sequence[str]) -> tuple[CaseResult, Predictions]:
    """Return the result and predictions of all images, whose sorted ids are ``ids``, whichever process had which.

    A process that had no image brings None. Times are those of the slowest process, since the others wait for it.

    Raises:
        EvaluationError: the processes did not evaluate the same model.
        RuntimeError: an image is missing, was evaluated twice, or is not among ``ids``.
    """
    present = [part for part in parts if part is not None]
    results = [result for result, _ in present]
    predictions = concatenate([each for _, each in present])
    if not np.array_equal(predictions.ids, np.array(ids)):
        raise RuntimeError(
            f"predictions for {len(predictions):,} images are not those of {len(ids):,} images, each once"
        )
    if len(digests := dict.fromkeys(result.weights_sha256 for result in results)) > 1:
        shown = ", ".join(f"{digest[:16]}..." for digest in digests)
        raise EvaluationError(f"the processes did not load the same model and weights: their sha256 are {shown}")
    slowest = min(results, key=lambda result: result.images_per_second / result.counts.images)
    first = next(result for result, each in present if each.ids[0] == ids[0])
    correct = {name: sum(getattr(result.counts, name) for result in results) for name in ("images", "top1", "top5")}
    longest = {name: max(getattr(result.seconds, name) for result in results) for name in ("decode", "load", "total")}
    whole = msgspec.structs.replace(
        slowest,
        counts=Counts(**correct),
        batch_size=min(result.batch_size for result in results),
        seconds=msgspec.structs.replace(slowest.seconds, **longest),
        images_per_second=slowest.images_per_second * len(ids) / slowest.counts.images,
        inputs_digest=predictions.inputs_digest,
        first_input=first.first_input,
        notes=tuple(dict.fromkeys(note for result in results for note in result.notes)),
    )
    return whole, predictions
