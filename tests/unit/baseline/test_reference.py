"""Tests of the baseline that harness.baseline.plugin compares with, by real run folders."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from harness.baseline.pairing import NOISE_FLOORS, Side, side_of
from harness.baseline.plugin import open_reference
from harness.dataset import ImageDataset
from harness.errors import RecordError, ResultsError
from harness.expected import Case, Entry, ModelSpec
from harness.precision import Setting
from harness.records.evidence import Pairing, Policy, Unpaired
from harness.records.results import Missing
from harness.records.run_folder import Run
from tests.records import case_result, expected, predictions_of, run_record, write_run

UPDATING = Policy(updating=True)


def dataset(first: int = 0, images: int = 1000, name: str = "imagenet-1k", total: int | None = None) -> ImageDataset:
    """Return a dataset of images that exist by name only."""
    ids = tuple(f"{number:04}.JPEG" for number in range(first, first + images))
    whole = None if total is None else dataset(images=total)
    return ImageDataset(name, "", Path("nowhere"), ids, (), np.ones(images, np.int16), (), "", whole)


def case(model: str = "resnet18", precision: str = "fp32") -> Case:
    """Return a case as it is selected."""
    return Case(Entry(ModelSpec(model, "IMAGENET1K_V1")), Setting(precision))


def new_side(run: Run, model: str = "resnet18", precision: str = "fp32") -> Side:
    """Return the first case of a run as if it were another one that has just been evaluated."""
    side = side_of(run, run.record.cases[0])
    named = {"id": str(case(model, precision)), "model": model, "precision": precision}
    return side._replace(result=msgspec.structs.replace(side.result, **named))


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Return a run of two models."""
    return write_run(tmp_path / "base", run_record([case_result(), case_result("alexnet")]))


def test_a_case_is_compared_with_the_same_case(run: Run) -> None:
    """Or with its model in the default setting, by the higher noise floor; or with nothing."""
    reference = open_reference(dataset(), run.path, Policy())

    same, other = (reference.compare(new_side(run, precision=precision)) for precision in ("fp32", "bf16"))
    lacking = reference.compare(new_side(run, "vgg16"))

    assert str(reference) == f"{run.path}, recorded 2026-11-24 with torch 2.9.1"
    assert isinstance(same, Pairing)
    assert isinstance(other, Pairing)
    assert (same.against, same.images, same.changed) == ("resnet18-IMAGENET1K_V1-fp32", 1000, 0)
    assert other.against == same.against
    assert (same.noise_floor, other.noise_floor) == (NOISE_FLOORS["fp32"], NOISE_FLOORS["bf16"])
    reason = f"{run.path} holds no case of vgg16-IMAGENET1K_V1, so its predictions are compared with nothing"
    assert lacking == Unpaired("missing", reason)


def test_damage_is_found_before_anything_is_evaluated(run: Run) -> None:
    """Of the cases that will be compared; while the baseline is updated it is compared with nothing."""
    (run.path / "predictions" / "alexnet-IMAGENET1K_V1-fp32.npz").write_bytes(b"cut short")
    reference, updating = (open_reference(dataset(), run.path, policy) for policy in (Policy(), UPDATING))
    alexnet, damaged = new_side(run, "alexnet"), r"alexnet-IMAGENET1K_V1-fp32\.npz: damaged"

    reference.check([case()])
    updating.check([case(), case("alexnet")])
    with pytest.raises(RecordError, match=damaged):
        reference.check([case(), case("alexnet", "bf16")])
    with pytest.raises(RecordError, match=damaged):
        reference.compare(alexnet)
    found = updating.compare(alexnet)

    assert isinstance(found, Unpaired)
    assert (found.why, found.policy) == ("damaged", UPDATING)
    assert re.search(damaged, found.reason)


def test_counts_that_are_not_those_of_the_predictions_are_damage(tmp_path: Path) -> None:
    """One of them was changed; that too is found before anything is evaluated."""
    others = predictions_of(case_result(counts=(1000, 701, 900)))
    run = write_run(tmp_path / "base", run_record([case_result()]), resnet18=others)

    with pytest.raises(RecordError, match=r"predictions of resnet18-IMAGENET1K_V1-fp32 give 701 \(top-1\)"):
        open_reference(dataset(), run.path, Policy()).check([case()])


NO_RUNS: dict[str, Callable[[Path], object]] = {
    "expected a run folder .* found nothing; record one with --baseline-update": lambda _: None,
    "found nothing; a run was killed while it replaced it: rename .*base.replaced-1234 back": lambda path: (
        path.with_name("base.replaced-1234").mkdir()
    ),
    "expected a record of this harness": lambda path: path.write_text("{}"),
    "expected a run with evaluated cases, found none": lambda path: write_run(path, run_record()),
    "labels.npz: missing": lambda path: (write_run(path, run_record([case_result()])).path / "labels.npz").unlink(),
}


@pytest.mark.parametrize(("message", "make"), NO_RUNS.items())
def test_what_is_no_run_is_an_error(message: str, make: Callable[[Path], object], tmp_path: Path) -> None:
    """Unless it is to be replaced: nothing, a file, a run without cases, a run that is damaged."""
    path = tmp_path / "base"
    make(path)

    with pytest.raises(RecordError, match=f"^--baseline {path}.*{message}"):
        open_reference(dataset(), path, Policy())
    updating = open_reference(dataset(), path, UPDATING)

    assert updating.run is None
    first = "to be replaced without pairing: " if path.exists() else f"{path}, not recorded yet; this run will be"
    assert str(updating).startswith(first)
    assert updating.storing_error(run_record([case_result()]), accept_failed=False) is None


@pytest.mark.parametrize(
    ("images", "policy", "message"),
    [
        (dataset(1000, 10, "val"), Policy(), "has 1,000 images of .*, none of which is among the 10 of val; name"),
        (dataset(500, 1000, "val"), UPDATING, "is of imagenet-1k, and 500 of the 1,000 images of val are not among"),
        (dataset(0, 100, total=1000), UPDATING, "holds 1,000 images and would be reduced to 100; leave out --limit"),
    ],
    ids=["other images", "an update from another dataset", "an update by a subset"],
)
def test_a_baseline_must_share_images(images: ImageDataset, policy: Policy, message: str, run: Run) -> None:
    """And an update lose none; a baseline of some of the images is decided case by case."""
    with pytest.raises((RecordError, ResultsError), match=message):
        open_reference(images, run.path, policy)

    assert open_reference(dataset(999, 10, "val"), run.path, Policy()).run is not None


ADVICE = "run them too, or name another folder"
ALEXNET = "alexnet-IMAGENET1K_V1-fp32"
FAILED = case_result("alexnet", expected=expected(1000, 702, 900))


@pytest.mark.parametrize(
    ("second", "accept_failed", "error"),
    [
        (case_result("alexnet"), False, None),
        (Missing(ALEXNET), True, f"1 of 2 cases were not evaluated, such as {ALEXNET}"),
        (
            FAILED,
            False,
            f"1 of 2 cases failed the check against the published values, such as {ALEXNET}; --baseline-accept-failed "
            "stores them anyway",
        ),
        (FAILED, True, None),
        (case_result("alexnet", baseline=Unpaired("different", "other images")), False, None),
        (case_result("vgg16"), False, f"BASE would lose {ALEXNET}, not among the cases of this run; {ADVICE}"),
    ],
    ids=["complete", "not evaluated", "failed", "failed and accepted", "only the baseline failed", "without a case"],
)
def test_what_may_replace_a_baseline(second: Any, accept_failed: bool, error: str | None, run: Run) -> None:
    """A complete run that is right by all other checks."""
    reference = open_reference(dataset(), run.path, UPDATING)

    found = reference.storing_error(run_record([case_result(), second]), accept_failed=accept_failed)

    assert error == (found and found.replace(str(run.path), "BASE"))


def test_a_case_that_an_update_would_lose_is_known_before_anything_is_evaluated(run: Run) -> None:
    """By the cases that are selected."""
    with pytest.raises(ResultsError, match=f"^--baseline-update: {run.path} would lose {ALEXNET}, not among the cases"):
        open_reference(dataset(), run.path, UPDATING).check([case()])
