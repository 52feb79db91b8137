"""Tests of harness.reporting.record."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from harness.gate.verdict import Check, Verdict
from harness.reporting.case_record import CaseRecord, pack
from harness.reporting.record import Record, Unmeasured
from harness.reporting.timing_record import TimingRecord
from tests.records import SPLIT, case_record, expected, run_record, timing_record

MADE_WITH: dict[str, Any] = {
    "preparation": {"decoder": "pillow", "crop": 224, "mean": [0.485, 0.456, 0.406]},
    "switches": {"cudnn.allow_tf32": False},
    "first_input": {"id": "a.JPEG", "sha256": "f1r5t", "low": -2.0, "high": 2},
    "paired": {
        **dict.fromkeys(("changed", "real", "lost", "gained", "p", "top5_changed"), 0),
        "drift": {"median": 0.0, "p99": 0.5, "largest": 1},
        "floor": {"largest": 1e-4},
    },
}
CASE = case_record(
    correct=np.array([True, False]),
    top5=2,
    expected=expected(50_000, 34_879, 44_539),
    verdict=Verdict((Check("top-1", "held", "±0.05 points"), Check("top-5", "failed", "none", could_miss=10.11))),
    note="ran in batches of 8",
    **MADE_WITH,
)
TIMING = timing_record(
    seconds=(0.5, 0.25, 0.25, 0.75), device_seconds=0.24, clocks={"sm_mhz": 1980, "throttled": ["power cap"]}
)


@pytest.mark.parametrize("case", [CASE, replace(CASE, expected=None, note="")])
def test_a_case_survives_json(case: CaseRecord) -> None:
    """A record that went through JSON text between processes is the one that went in, the bits included."""
    actual = CaseRecord.from_json(json.loads(json.dumps(case.to_json())))

    assert case == actual


@pytest.mark.parametrize("timing", [TIMING, replace(TIMING, device_seconds=None, peak_memory=None, clocks=None)])
def test_a_timing_survives_json(timing: TimingRecord) -> None:
    """So does a timing, each call's seconds to the last digit."""
    actual = TimingRecord.from_json(json.loads(json.dumps(timing.to_json())))

    assert timing == actual


def test_a_run_survives_json_without_the_answers() -> None:
    """A run's JSON holds cases, timings and what has no values; not the images' answers, which would swell it."""
    made = run_record(
        [CASE, Unmeasured("vgg16-IMAGENET1K_V1-fp32", "error", "no weights")], [TIMING, Unmeasured("vgg16-b32")]
    )
    split = replace(SPLIT, class_names=("tench", "<goldfish>"))
    record = replace(made, split=split, commands=("pytest -m imagenet", "pytest -k 'a b'"))

    actual = Record.from_json(json.loads(json.dumps(record.to_json())))

    assert replace(record, cases=(replace(CASE, correct=""), record.cases[1])) == actual


def test_the_json_of_a_case_is_as_documented() -> None:
    """The keys are those that others read: hits, expected, tolerance, checks, outcome, seconds by phase, digests."""
    actual = run_record([CASE]).to_json()["cases"][0]

    assert actual == {
        "id": "resnet18-IMAGENET1K_V1-fp32",
        "model": "resnet18",
        "weights": "IMAGENET1K_V1",
        "precision": "fp32",
        "memory_format": "channels_last",
        "compiled": False,
        "split": "imagenet-1k",
        "images": 2,
        "top1": 1,
        "top5": 2,
        "expected": {"images": 50_000, "top1": 34_879, "top5": 44_539, "origin": "published"},
        "tolerance": 0.05,
        "checks": [
            {"name": "top-1", "outcome": "held", "detail": "±0.05 points", "could_miss": 0.0},
            {"name": "top-5", "outcome": "failed", "detail": "none", "could_miss": 10.11},
        ],
        "outcome": "failed",
        "seconds": {"decode": 0.25, "load": 0.5, "transfer": 0.125, "forward": 0.75, "total": 1.75},
        "images_per_second": 1234.5,
        "batch_size": 256,
        "parameters": 11_689_512,
        "gflops": 1.814,
        "weights_sha256": "5ha256",
        "inputs_digest": "1nput5",
        **MADE_WITH,
        "note": "ran in batches of 8",
        "weights_bytes": 46_830_571,
    }


def test_what_follows_from_the_calls() -> None:
    """Median, spread, images/s and operations are worked out from the calls: here by hand."""
    timing = timing_record(seconds=(0.5, 0.25, 0.25, 0.75, 0.3), batch_size=6, gflops=25.0, peak_tflops=4.0)

    actual = timing.median, timing.spread, timing.images_per_second, timing.tflops, timing.share_of_peak

    # Quartiles 0.25 and 0.5; 6 / 0.3 = 20 images/s, each of 50 GFLOP: 1 TFLOP/s of 4.
    assert actual == pytest.approx((0.3, 0.25 / 0.3, 20.0, 1.0, 0.25))


@pytest.mark.parametrize("images", [1, 7, 8, 9, 16, 500, 501])
def test_bits_are_those_that_were_packed(images: int) -> None:
    """Each image's bit is found again in its place, also where the images do not fill the last byte."""
    bits = np.random.default_rng(images).random(images) < 0.7

    actual = CaseRecord.from_json(
        json.loads(json.dumps(case_record(correct=bits, top5=images).to_json()))
    ).correct_bits()

    np.testing.assert_array_equal(actual, bits, strict=True)


@pytest.mark.parametrize(
    ("bits", "packed"),
    [
        ([True], "80"),
        ([False], "00"),
        ([True, False, False, False, False, False, False, True], "81"),
        ([False] * 8 + [False, True], "0040"),
    ],
)
def test_packed_bits_are_stable(bits: list[bool], packed: str) -> None:
    """The first image is the highest bit of the first byte, so that a file written today is read tomorrow."""
    actual = pack(np.array(bits))

    assert packed == actual
