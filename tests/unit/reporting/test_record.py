"""Tests of harness.reporting.record."""

from __future__ import annotations

import json
from decimal import Decimal

import numpy as np
import pytest

from harness.gate.expected import Expected
from harness.gate.scores import TopK
from harness.gate.verdict import Check, Verdict
from harness.reporting.record import CaseRecord, expected_hits, pack


def _record(images: int, expected: TopK | None = None, note: str = "") -> CaseRecord:
    rng = np.random.default_rng(images)
    correct = rng.random(images) < 0.7
    return CaseRecord(
        id="resnet18-IMAGENET1K_V1-fp32",
        model="resnet18",
        weights="IMAGENET1K_V1",
        precision="fp32",
        split="imagenet-1k",
        measured=TopK(images, int(correct.sum()), images),
        expected=expected,
        origin="published",
        verdict=Verdict((Check("top-1", True, "±0.05 points"), Check("top-5", False, "none", could_miss=10.11))),
        correct=pack(correct),
        parameters=11_689_512,
        gflops=1.814073344,
        images_per_second=1234.5678,
        inputs_digest="d1ge57",
        note=note,
    )


@pytest.mark.parametrize("expected", [None, TopK(50_000, 34_879, 44_539)])
@pytest.mark.parametrize("note", ["", "ran in batches of 8"])
def test_record_survives_json(expected: TopK | None, note: str) -> None:
    """A record that went through JSON text, between processes or into a file, is the one that went in."""
    record = _record(9, expected, note)

    actual = CaseRecord.from_json(json.loads(json.dumps(record.to_json())))

    assert record == actual


def test_json_is_plain() -> None:
    """The keys of the JSON are the record's own, at each level, so that others can read it."""
    record = _record(2, TopK(50_000, 34_879, 44_539))

    actual = json.loads(json.dumps(record.to_json()))

    expected = {
        "id": "resnet18-IMAGENET1K_V1-fp32",
        "model": "resnet18",
        "weights": "IMAGENET1K_V1",
        "precision": "fp32",
        "split": "imagenet-1k",
        "measured": {"n": 2, "top1": record.measured.top1, "top5": 2},
        "expected": {"n": 50_000, "top1": 34_879, "top5": 44_539},
        "origin": "published",
        "verdict": {
            "checks": [
                {"name": "top-1", "held": True, "detail": "±0.05 points", "could_miss": 0.0},
                {"name": "top-5", "held": False, "detail": "none", "could_miss": 10.11},
            ]
        },
        "correct": record.correct,
        "parameters": 11_689_512,
        "gflops": 1.814073344,
        "images_per_second": 1234.5678,
        "inputs_digest": "d1ge57",
        "note": "",
    }
    assert expected == actual


@pytest.mark.parametrize("images", [1, 7, 8, 9, 16, 500, 501])
def test_bits_are_those_that_were_packed(images: int) -> None:
    """Each image's bit is found again in its place, also where the images do not fill the last byte."""
    expected = np.random.default_rng(images).random(images) < 0.7

    actual = CaseRecord.from_json(json.loads(json.dumps(_record(images).to_json()))).correct_bits()

    np.testing.assert_array_equal(actual, expected, strict=True)


@pytest.mark.parametrize(
    ("bits", "expected"),
    [
        ([True], "80"),
        ([False], "00"),
        ([True, False, False, False, False, False, False, True], "81"),
        ([False] * 8 + [False, True], "0040"),
    ],
)
def test_packed_bits_are_stable(bits: list[bool], expected: str) -> None:
    """The first image is the highest bit of the first byte, so that a file written today is read tomorrow."""
    actual = pack(np.array(bits))

    assert expected == actual


def test_expected_hits_are_the_whole_splits() -> None:
    """The record keeps hits and origin of what was expected, and that there was nothing."""
    hits = TopK(500, 274, 464)

    actual = expected_hits(Expected(hits, Decimal("0.4"), "recorded")), expected_hits(None)[0]

    expected = (hits, "recorded"), None
    assert expected == actual
