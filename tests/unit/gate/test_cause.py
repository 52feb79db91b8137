"""Tests of harness.gate.cause."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from harness.data.fingerprints import Fingerprints
from harness.gate.answers import Answers
from harness.gate.cause import Evaluated, first_difference, images_missing
from harness.gate.scores import TopK

N = 6


def evaluated(**changes: Any) -> Evaluated:
    """Return an evaluation of six images, four of them right, with ``changes``."""
    answers = Answers(
        ids=np.array([f"{number}.JPEG" for number in range(N)]),
        targets=np.array([10, 11, 12, 13, 14, 15], np.int16),
        top5=np.array(
            [[10 + number, 1, 2, 3, 4] for number in range(4)] + [[5, 14, 2, 3, 4], [5, 1, 2, 3, 4]], np.int16
        ),
        logits=np.tile(np.arange(5, 0, -1, dtype=np.float32), (N, 1)),
    )
    rng = np.random.default_rng(0)
    fingerprints = Fingerprints(
        rng.integers(0, 256, (N, 16), dtype=np.uint8), rng.integers(20, 200, (N, 4, 4, 3), dtype=np.uint8)
    )
    values = Evaluated(
        answers=answers,
        counted=answers.hits,
        total=N,
        parameters=100,
        weights="a" * 64,
        fingerprints=fingerprints,
        preparation={"decoder": "pillow", "resize": 256, "interpolation": "bilinear", "mean": [0.5], "std": [0.25]},
        first_input={"id": "0.JPEG", "sha256": "aa", "low": -2.0, "high": 2.5},
        conditions={"cudnn.allow_tf32": False, "setting": "fp32", "batch size": 32},
        environment={"torch": "2.9.1", "torchvision": "0.24.1", "pillow": "12.0.0", "libjpeg_turbo": "3.1.0"},
    )
    return replace(values, **changes)


def other_pixels(images: int, levels: int) -> Fingerprints:
    """Return the fingerprints of images of which the first few are brighter in the upper left of the grid."""
    before = evaluated().fingerprints
    assert before is not None
    hashes, samples = before.hashes.copy(), before.samples.copy()
    hashes[:images, 0] ^= 1
    samples[:images, 0, 0] += np.uint8(levels)
    return Fingerprints(hashes, samples)


OLD = evaluated()
LABELS = replace(OLD.answers, targets=np.array([10, 11, 12, 13, 15, 15], np.int16))


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"weights": "b" * 64}, "weights: their sha256 is bbbbbbbbbbbbbbbb..., before aaaaaaaaaaaaaaaa..."),
        (
            {"answers": LABELS, "counted": LABELS.hits},
            "labels: 1 of 6 images have another class, such as 4.JPEG: 15, before 14",
        ),
        (
            {"fingerprints": other_pixels(2, 3), "environment": {**OLD.environment, "pillow": "13.0.0"}},
            "decoded inputs: 2 of 6 images have other pixels, such as 0.JPEG: 6.2 % of their sampled values, by up "
            "to 3 of 255 levels (mean 3.0); pillow 12.0.0 -> 13.0.0",
        ),
        (
            {
                "fingerprints": other_pixels(6, 40),
                "preparation": {**OLD.preparation, "resize": 232, "decoder": "torchvision"},
                "environment": {**OLD.environment, "torch": "2.14.1"},
            },
            "decoded inputs: 6 of 6 images have other pixels, such as 0.JPEG: 6.2 % of their sampled values, by up "
            "to 40 of 255 levels (mean 40.0); decoder pillow -> torchvision, resize 256 -> 232",
        ),
        (
            {"fingerprints": other_pixels(1, 1)},
            "decoded inputs: 1 of 6 images have other pixels, such as 0.JPEG: 6.2 % of their sampled values, by up "
            "to 1 of 255 levels (mean 1.0); decoder, recipe and versions are the same: other files, or other code",
        ),
        (
            {
                "preparation": {**OLD.preparation, "mean": [0.4]},
                "first_input": {**OLD.first_input, "sha256": "bb", "low": 0.0, "high": 255.0},
            },
            "normalization: the same pixels of 0.JPEG reach the model as values from 0 to 255, before from -2 to "
            "2.5; mean (0.5) -> (0.4)",
        ),
        (
            {"first_input": {**OLD.first_input, "sha256": "bb"}},
            "normalization: the same pixels of 0.JPEG reach the model as values from -2 to 2.5, before from -2 to "
            "2.5; mean and std are the same",
        ),
        (
            {"first_input": {"id": "3.JPEG", "sha256": "bb"}, "preparation": {**OLD.preparation, "std": [1.0]}},
            "normalization: std (0.25) -> (1)",
        ),
        (
            {"counted": TopK(N, 3, 5)},
            "counting: 3 and 5 hits of 6 images were counted, and the answers hold 4 and 5 of 6",
        ),
        (
            {
                "conditions": {**OLD.conditions, "cudnn.allow_tf32": True},
                "environment": {**OLD.environment, "torch": "2.14.1"},
            },
            "arithmetic: cudnn.allow_tf32 False -> True, torch 2.9.1 -> 2.14.1; weights, labels, set of images, "
            "decoded inputs, normalization are the same",
        ),
        (
            {},
            "arithmetic: weights, labels, set of images, decoded inputs, normalization, versions, hardware and "
            "switches are the same: the code of the model or of this harness is another, or a computation does not "
            "give the same twice",
        ),
    ],
    ids=[
        "weights", "labels", "pillow", "recipe", "other files", "0 to 255", "normalized twice", "std of a subset",
        "counting", "switch and torch", "nothing",
    ],
)  # fmt: skip
def test_the_first_link_that_differs_is_named(changes: dict[str, Any], sentence: str) -> None:
    """With its evidence, in one sentence."""
    assert sentence == str(first_difference(OLD, evaluated(**changes)))


def test_what_comes_first_in_the_chain_is_named_first() -> None:
    """Whatever else differs: counting, weights, labels, decoded inputs, normalization, arithmetic."""
    changes: list[tuple[str, dict[str, Any]]] = [
        ("counting", {"counted": TopK(N, 0, 0)}),
        ("weights", {"weights": "b" * 64}),
        ("labels", {"answers": LABELS, "counted": LABELS.hits}),
        ("decoded inputs", {"fingerprints": other_pixels(6, 1)}),
        ("normalization", {"first_input": {**OLD.first_input, "sha256": "bb"}}),
        ("arithmetic", {"environment": {"torch": "3"}}),
    ]

    found = []
    while changes:
        given = {name: value for _, values in changes[::-1] for name, value in values.items()}
        found.append(first_difference(OLD, evaluated(**given)).link)
        del changes[0]

    assert found == ["counting", "weights", "labels", "decoded inputs", "normalization", "arithmetic"]


def test_what_the_baseline_does_not_know_is_not_accused() -> None:
    """A baseline of answers alone tells neither weights nor inputs; they are not said to be the same either."""
    unknown: dict[str, Any] = {"weights": "", "fingerprints": None, "preparation": {}, "first_input": {}}

    cause = first_difference(evaluated(**unknown, environment={"torch": "0.4.1"}), OLD)

    assert str(cause) == "arithmetic: torch 0.4.1 -> 2.9.1; labels, set of images are the same"


def _with_ids(*ids: str) -> Answers:
    answers = OLD.answers.at(np.arange(len(ids)))
    return replace(answers, ids=np.array(ids))


@pytest.mark.parametrize(
    ("old_ids", "old_total", "new_ids", "new_total", "sentence"),
    [
        ("abcdef", 6, "abcdef", 6, None),
        ("abcdef", 6, "bd", 6, None),
        ("abcdef", 6, "abcde", 5, "set of images: 5 images, before 6; gone: 1, such as f"),
        ("abcde", 5, "abcdef", 6, "set of images: 6 images, before 5; new: 1, such as f"),
        (
            "abcdef", 6, "abcdeg", 6,
            "set of images: 6 images, before 6; new: 1, such as g; gone: 1, such as f",
        ),
        ("abcdef", 6, "bg", 6, "set of images: 6 images, before 6; new: 1, such as g"),
        ("abcdef", 6, "ab", 7, "set of images: 7 images, before 6"),
        (
            "abc", 6, "abcdef", 6,
            "set of images: the baseline holds 3 of 6 images, too few for the 6 here; give --limit 3 or less, or "
            "record a baseline of all",
        ),
        ("abc", 6, "ac", 6, None),
        ("abc", 6, "abd", 6, "set of images: 6 images, before 6; new: 1, such as d; gone: 1, such as c"),
    ],
)  # fmt: skip
def test_images_must_be_the_baselines(
    old_ids: str, old_total: int, new_ids: str, new_total: int, sentence: str | None
) -> None:
    """A whole split, or a subset of the same whole; anything else is told with an example."""
    old = evaluated(answers=_with_ids(*old_ids), total=old_total)
    new = evaluated(answers=_with_ids(*new_ids), total=new_total)

    found = images_missing(old, new)

    assert sentence == (None if found is None else str(found))
