"""What one process found out about its images of a case, and how the parts of several become the whole."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from harness.data.fingerprints import Fingerprints
from harness.errors import EvaluationError
from harness.evaluation.predictions import Predictions
from harness.evaluation.spec import ModelFacts


@dataclass(frozen=True, eq=False)
class Share:
    """Answers to N images, and what the model was shown.

    Attributes:
        predictions: of the N images.
        fingerprints: of the N images.
        model: what answered; None if there was no image.
        decode_seconds: waited for images being decoded.
        load_seconds: the model took to be built and brought to the device.
        notes: what a reader should know.
    """

    predictions: Predictions
    fingerprints: Fingerprints
    model: ModelFacts | None
    decode_seconds: float
    load_seconds: float
    notes: tuple[str, ...]

    @classmethod
    def none(cls) -> Share:
        """Return that of a process without images."""
        return cls(Predictions.none(), Fingerprints.room_for(0), None, 0.0, 0.0, ())


def join(shares: Sequence[Share], ids: Sequence[str]) -> Share:
    """Return the answers to all images, each put in its place by its id, whoever gave it.

    The times are those of the slowest share, since the others wait for it.

    Args:
        shares: some may be empty.
        ids: of all images, unique and sorted.

    Raises:
        EvaluationError: they were not answered by one model.
        RuntimeError: an image is missing, was answered twice, or is not among ``ids``.
    """
    shares = [share for share in shares if share.predictions.ids]
    answered = np.array([identity for share in shares for identity in share.predictions.ids])
    order = np.argsort(answered, kind="stable")
    if not np.array_equal(answered[order], np.array(ids)):
        raise RuntimeError(f"{len(answered):,} answers do not make up {len(ids):,} images, each once")
    models = dict.fromkeys(share.model for share in shares)
    if len(models) > 1:
        weights = ", ".join(f"{model.sha256[:16]}..." for model in models if model)
        raise EvaluationError(f"the processes did not load the same model and weights: their sha256 are {weights}")
    first = next(share for share in shares if share.predictions.ids[0] == ids[0])
    slowest = max(shares, key=lambda share: share.predictions.seconds - share.predictions.waited)
    predictions = [share.predictions for share in shares]
    return Share(
        predictions=replace(
            slowest.predictions,
            ids=tuple(ids),
            top5=np.concatenate([part.top5 for part in predictions])[order],
            logits=np.concatenate([part.logits for part in predictions])[order],
            batch_size=min(part.batch_size for part in predictions),
            first_input=first.predictions.first_input,
        ),
        fingerprints=Fingerprints(
            np.concatenate([share.fingerprints.hashes for share in shares])[order],
            np.concatenate([share.fingerprints.samples for share in shares])[order],
        ),
        model=first.model,
        decode_seconds=max(share.decode_seconds for share in shares),
        load_seconds=max(share.load_seconds for share in shares),
        notes=tuple(dict.fromkeys(note for share in shares for note in share.notes)),
    )
