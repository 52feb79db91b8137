"""Tests of harness.gate.scores."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from harness.errors import EvaluationError
from harness.evaluation.predictions import Predictions
from harness.gate.scores import TopK, correct, score

# Counted by the reference data's own README from the same file.
REAL_HITS = {
    "alexnet": (28259, 39535),
    "resnet18": (34879, 44538),
    "resnet50": (38065, 46431),
    "squeezenet1_1": (29089, 40312),
    "vgg11": (34510, 44314),
    "densenet121": (37217, 45986),
}


def _predictions(top5: NDArray[np.int16], classes: int = 1000) -> Predictions:
    ids = tuple(f"{number:08}" for number in range(len(top5)))
    return Predictions(ids, top5, np.zeros(top5.shape, np.float32), classes, batch_size=1, seconds=1.0)


def _random_answers(seed: int, images: int, classes: int) -> tuple[Predictions, NDArray[np.int16]]:
    rng = np.random.default_rng(seed)
    every_class = np.tile(np.arange(classes, dtype=np.int16), (images, 1))
    top5 = rng.permuted(every_class, axis=1)[:, :5]
    return _predictions(top5, classes), rng.integers(classes, size=images, dtype=np.int16)


def _counted_slowly(predictions: Predictions, targets: NDArray[np.int16]) -> TopK:
    """Count as one would by hand: an image, a place, a comparison at a time."""
    top1 = top5 = 0
    for row, target in zip(predictions.top5.tolist(), targets.tolist(), strict=True):
        for place, answer in enumerate(row, start=1):
            if answer == target:
                top5 += 1
                if place == 1:
                    top1 += 1
    return TopK(len(predictions.ids), top1, top5)


@pytest.mark.parametrize("classes", [5, 6, 40, 1000])
@pytest.mark.parametrize("images", [1, 2, 7, 64, 65])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_score_counts_as_a_slow_loop_does(seed: int, images: int, classes: int) -> None:
    """The hits are those of a loop over images and places in plain Python, with as few classes as places too."""
    predictions, targets = _random_answers(seed, images, classes)
    expected = _counted_slowly(predictions, targets)

    actual = score(predictions, targets, classes)

    assert expected == actual


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_correct_says_of_each_image_whether_its_first_answer_is_right(seed: int) -> None:
    """``correct`` is (N,) bool, in the order of the targets, and looks at the first place alone."""
    predictions, targets = _random_answers(seed, images=200, classes=6)
    expected = [row[0] == target for row, target in zip(predictions.top5.tolist(), targets.tolist(), strict=True)]

    actual = correct(predictions, targets)

    assert np.bool_ == actual.dtype
    assert expected == actual.tolist()


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        pytest.param(7, TopK(n=1, top1=1, top5=1), id="first place"),
        pytest.param(300, TopK(n=1, top1=0, top5=1), id="second place"),
        pytest.param(999, TopK(n=1, top1=0, top5=1), id="last of five, last class"),
        pytest.param(5, TopK(n=1, top1=0, top5=0), id="not among the five"),
    ],
)
def test_score_of_one_image(target: int, expected: TopK) -> None:
    """An image counts for top-1 in the first place only, and for top-5 in each of the five."""
    predictions = _predictions(np.array([[7, 300, 0, 1, 999]], np.int16))

    actual = score(predictions, np.array([target], np.int16), classes=1000)

    assert expected == actual


@pytest.mark.parametrize("logits", [999, 1001])
def test_another_number_of_logits_than_classes_is_refused(logits: int) -> None:
    """A model whose indices mean other classes is not scored, however plausible its answers look."""
    predictions = _predictions(np.zeros((2, 5), np.int16), classes=logits)

    with pytest.raises(EvaluationError) as refusal:
        score(predictions, np.zeros(2, np.int16), classes=1000)

    expected = f"the model gives {logits:,} logits for 1,000 classes, so its answers cannot be scored"
    assert expected == str(refusal.value)


@pytest.mark.parametrize(("images", "targets"), [(3, 2), (2, 3), (1, 2), (2, 1)])
def test_another_number_of_predictions_than_targets_is_refused(images: int, targets: int) -> None:
    """One row too many or too few is an error, also where NumPy could broadcast it."""
    predictions = _predictions(np.zeros((images, 5), np.int16))

    with pytest.raises(ValueError, match=f"^{images} predictions for {targets} targets$"):
        score(predictions, np.zeros(targets, np.int16), classes=1000)


def test_topk_gives_hits_and_percent_by_metric() -> None:
    """The two metrics are told apart, and a percentage is one division of whole hits, with no digit too many."""
    topk = TopK(n=50_000, top1=28_001, top5=44_539)

    actual = [(topk.hits(metric), topk.percent(metric)) for metric in ("top1", "top5")]

    expected = [(28_001, 56.002), (44_539, 89.078)]
    assert expected == actual


@pytest.mark.parametrize("model", REAL_HITS)
def test_hits_of_real_predictions(
    model: str, real_predictions: dict[str, Predictions], real_targets: NDArray[np.int16]
) -> None:
    """On real answers to all 50,000 validation images the hits are exactly those known."""
    expected = TopK(50_000, *REAL_HITS[model])

    actual = score(real_predictions[model], real_targets, classes=1000)

    assert expected == actual
