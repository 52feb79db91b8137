"""Tests of harness.baseline.diagnosis."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from harness.baseline.diagnosis import first_difference
from harness.baseline.pairing import Side, pair
from harness.formats.imagenet import wnids
from harness.predictions import Predictions, count
from harness.records.environment import Environment
from harness.records.evidence import Counts, Unpaired
from tests.records import case_result

N = 6
TARGETS = np.array([10, 11, 12, 13, 14, 15], np.int16)
OTHER_TARGETS = np.array([10, 11, 12, 13, 15, 15], np.int16)
PREPARATION = {"decoder": "pillow", "resize": 256, "interpolation": "bilinear", "mean": [0.5], "std": [0.25]}
FIRST_INPUT = {"id": "0.JPEG", "sha256": "aa", "low": -2.0, "high": 2.5}
SWITCHES = {"cudnn.allow_tf32": False}
ENVIRONMENT = {"torch": "2.9.1", "torchvision": "0.24.1", "pillow": "12.0.0", "libjpeg_turbo": "3.1.0"}
PREDICTIONS = Predictions(
    ids=np.array([f"{number}.JPEG" for number in range(N)]),
    top=np.array([[10 + n, 1, 2, 3, 4, 6] for n in range(4)] + [[5, 14, 2, 3, 4, 6], [5, 1, 2, 3, 4, 15]], np.int16),
    logits=np.tile(np.arange(6, 0, -1, dtype=np.float32), (N, 1)),
    hashes=np.zeros((N, 16), np.uint8),
    samples=np.full((N, 4, 4, 3), 100, np.uint8),
)
OTHER_PIXELS = replace(PREDICTIONS, hashes=np.array([[0] * 16] * 5 + [[0] * 15 + [1]], np.uint8))
"""Of the last image, off the grid of samples."""


def side(predictions: Predictions = PREDICTIONS, **changes: Any) -> Side:
    """Return an evaluation of six images, of which four are correct, with ``changes`` to its result."""
    targets = changes.pop("targets", TARGETS)[: len(predictions)]
    total, environment = changes.pop("total", N), changes.pop("environment", ENVIRONMENT)
    values: dict[str, Any] = {
        "counts": count(predictions, targets),
        "weights_sha256": "a" * 64,
        "preparation": PREPARATION,
        "first_input": FIRST_INPUT,
        "switches": SWITCHES,
        **changes,
    }
    return Side(case_result(**values), predictions, targets, total, Environment(**environment))


OLD = side()
UNEXPLAINED = "nothing before the arithmetic is known to differ"


@pytest.mark.parametrize(
    ("changes", "finding", "cause"),
    [
        (
            {"weights_sha256": "b" * 64},
            "the weights differ (sha256 bbbbbbbb, before aaaaaaaa)",
            "a different weights file, or code that changes weights after loading",
        ),
        (
            {"targets": OTHER_TARGETS},
            "1 of 6 images have a different label",
            "a different label file, or code that reads it differently",
        ),
        (
            {"first_input": {**FIRST_INPUT, "sha256": "bb", "low": 0.0, "high": 255.0}},
            "the same pixels were normalized differently (0 to 255, before -2 to 2.5)",
            "different code, since mean and std are the same",
        ),
        (
            {
                "first_input": {**FIRST_INPUT, "id": "3.JPEG"},
                "preparation": {**PREPARATION, "mean": [0.4], "std": [1.0]},
            },
            "the same pixels were normalized differently",
            "mean (0.5) -> (0.4), std (0.25) -> (1)",
        ),
        (
            {"counts": Counts(N, 3, 5)},
            "3 (top-1) and 5 (top-5) correct of 6 were counted, but the predictions give 4 and 5 of 6",
            "counters that were not reset, or images that were counted twice",
        ),
        (
            {"switches": {"cudnn.allow_tf32": True}, "environment": {**ENVIRONMENT, "torch": "2.14.1"}},
            UNEXPLAINED,
            "cudnn.allow_tf32 False -> True, torch 2.9.1 -> 2.14.1",
        ),
        ({"batch_size": 32}, UNEXPLAINED, "batch size 256 -> 32"),
        ({}, UNEXPLAINED, "different code of the model or of this harness, or a computation that is not reproducible"),
    ],
    ids=[
        "weights", "labels", "0 to 255", "mean and std of a subset", "counting", "switch and torch", "batch size",
        "nothing",
    ],
)  # fmt: skip
def test_the_first_stage_that_differs_is_diagnosed(changes: dict[str, Any], finding: str, cause: str) -> None:
    """With the finding in one sentence, and its likely cause."""
    found = first_difference(OLD, side(**changes))

    assert f"{finding}; likely cause: {cause}" == str(found)
    assert found.explained == (finding == UNEXPLAINED and " -> " in cause)


SAME = "different image files or code, since decoder, recipe and versions are the same"


def _decoder(name: str, driver: str = "580") -> dict[str, Any]:
    return {"preparation": {"decoder": name}, "environment": {"driver": driver}}


@pytest.mark.parametrize(
    ("old", "new", "cause", "explained"),
    [
        ({"environment": {"pillow": "12"}}, {"environment": {"pillow": "13"}}, "pillow 12 -> 13", True),
        (_decoder("pillow"), _decoder("torchvision"), "decoder pillow -> torchvision", True),
        (_decoder("nvjpeg"), _decoder("nvjpeg", driver="590"), "driver 580 -> 590", True),
        (_decoder("pillow"), _decoder("pillow", driver="590"), SAME, False),
        ({"preparation": {"resize": 256}}, {"preparation": {"resize": 232}}, "resize 256 -> 232", False),
        ({"environment": {"torch": "2.9.1"}}, {"environment": {"torch": "2.14.1"}}, SAME, False),
        ({}, {}, SAME, False),
    ],
)
def test_other_pixels_need_a_named_cause(old: dict[str, Any], new: dict[str, Any], cause: str, explained: bool) -> None:
    """A library or decoder that can change them; another resize is another model, as other weights are."""
    found = first_difference(side(**old), side(OTHER_PIXELS, **new))

    assert f"the decoded pixels differ (1 of 6 images); likely cause: {cause}" == str(found)
    assert explained == found.explained


@pytest.mark.parametrize(
    ("classes", "details"), [(wnids(), "robin, before indigo bunting"), ((), "class 15, before class 14")]
)
def test_a_label_that_differs_is_named(classes: Sequence[str], details: str) -> None:
    """By the names of its classes, in English where they are wnids."""
    old, new = (side(targets=targets)._replace(classes=classes) for targets in (TARGETS, OTHER_TARGETS))

    assert f"such as 4.JPEG: {details}" == first_difference(old, new).details


def test_sampled_values_are_compared_up_and_down() -> None:
    """Of two images that differ one does so off the grid, the other in three of 96 sampled values."""
    hashes, samples = np.zeros((N, 16), np.uint8), np.full((N, 4, 4, 3), 100, np.uint8)
    hashes[[1, 3], 7] = 1
    samples[3, 0, 0] = [101, 98, 250]

    found = first_difference(OLD, side(replace(PREDICTIONS, hashes=hashes, samples=samples)))

    assert found.sentence == "the decoded pixels differ (2 of 6 images, up to 150 of 255 levels)"
    assert found.details == "3.1% of their sampled values differ, by 51.0 levels on average; the first image is 1.JPEG"


def test_stages_are_examined_in_the_order_of_the_pipeline() -> None:
    """Whatever else differs further on."""
    stages: dict[str, dict[str, Any]] = {
        "counting": {"counts": Counts(N, 0, 0)},
        "weights": {"weights_sha256": "b" * 64},
        "labels": {"targets": OTHER_TARGETS},
        "decoded inputs": {"predictions": OTHER_PIXELS},
        "normalization": {"first_input": {**FIRST_INPUT, "sha256": "bb"}},
        "arithmetic": {"environment": {"torch": "3"}},
    }

    changes = [dict(ChainMap(*list(stages.values())[number:])) for number in range(len(stages))]

    assert list(stages) == [first_difference(OLD, side(**each)).stage for each in changes]


def test_what_the_baseline_does_not_know_is_neither_different_nor_the_same() -> None:
    """A baseline of classes alone knows neither weights nor inputs."""
    classes = Predictions(PREDICTIONS.ids, PREDICTIONS.top)
    old = side(classes, weights_sha256="", preparation={}, first_input={}, switches={}, environment={"torch": "0.4.1"})

    found = first_difference(old, OLD)

    assert str(found) == f"{UNEXPLAINED}; likely cause: torch 0.4.1 -> 2.9.1"
    assert found.details == "labels, set of images are the same"


@pytest.mark.parametrize(
    ("old", "old_total", "new", "new_total", "reason"),
    [
        ("abcdef", 6, "abcdef", 6, ""),
        ("abcdef", 6, "bd", 6, ""),
        ("abc", 6, "ac", 6, ""),
        ("abcdef", 6, "abcde", 5, "5 images, before 6; missing: 1, such as f"),
        ("abcde", 5, "abcdef", 6, "6 images, before 5; new: 1, such as f"),
        ("abcdef", 6, "abcdeg", 6, "6 images, before 6; new: 1, such as g; missing: 1, such as f"),
        ("abcdef", 6, "bg", 6, "6 images, before 6; new: 1, such as g"),
        ("abcdef", 6, "ab", 7, "7 images, before 6"),
        (
            "abc", 6, "abcdef", 6,
            "the baseline holds 3 of 6 images, too few for the 6 here; give --limit 3 or less, or record a baseline of "
            "all",
        ),
        ("abc", 6, "abd", 6, "6 images, before 6; new: 1, such as d; missing: 1, such as c"),
    ],
)  # fmt: skip
def test_images_must_be_the_baselines(old: str, old_total: int, new: str, new_total: int, reason: str) -> None:
    """A whole dataset, or a subset of the same whole; any other is named with an example."""
    indices = [np.array(["abcdef".find(each) for each in ids]) for ids in (old, new)]
    before, after = (
        side(replace(PREDICTIONS.at(at), ids=np.array([*ids])), targets=TARGETS[at], total=total)
        for at, ids, total in zip(indices, (old, new), (old_total, new_total), strict=True)
    )

    found = pair(before, after)

    if isinstance(found, Unpaired):
        assert f"set of images: {reason}" == found.reason
    else:
        assert ("", 0, "arithmetic") == (reason, found.changed, found.diagnosis.stage)
