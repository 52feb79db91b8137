"""Tests of the baseline that harness.baseline.plugin compares with, by real run folders."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import pytest

from harness.baseline.pairing import Side, side_of
from harness.baseline.plugin import open_reference
from harness.dataset import ImageDataset
from harness.errors import RecordError, ResultsError
from harness.expected import Case, Entry, ModelSpec
from harness.precision import Setting
from harness.records.evidence import Policy, Unpaired
from harness.records.run_folder import Run
from tests.records import case_result, predictions_of, run_record, write_run

UPDATING = Policy(updating=True)


def dataset(first: int = 0, images: int = 1000, name: str = "imagenet-1k", total: int | None = None) -> ImageDataset:
    """Return a dataset of images that exist by name only."""
    ids = tuple(f"{number:04}.JPEG" for number in range(first, first + images))
    whole = None if total is None else dataset(images=total)
    return ImageDataset(name, "", Path("nowhere"), ids, (), np.ones(images, np.int16), (), "", whole)


def case(model: str = "resnet18", precision: str = "fp32") -> Case:
    """Return a case as it is selected."""
    return Case(Entry(ModelSpec(model, "IMAGENET1K_V1")), Setting(precision))


def new_side(run: Run, model: str = "resnet18") -> Side:
    """Return the first case of a run as if it were another model's that has just been evaluated."""
    side = side_of(run, run.record.cases[0])
    return side._replace(result=msgspec.structs.replace(side.result, id=str(case(model)), model=model))


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Return a run of two models."""
    return write_run(tmp_path / "base", run_record([case_result(), case_result("alexnet")]))


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
    reference = open_reference(dataset(), run.path, Policy())
    sentence = (
        r"predictions of resnet18-IMAGENET1K_V1-fp32 give 701 \(top-1\) and 900 \(top-5\) correct of 1,000, its record "
        "700 and 900 of 1,000; one of them was modified"
    )

    with pytest.raises(RecordError, match=sentence):
        reference.check([case()])
    with pytest.raises(RecordError, match=sentence):
        reference.compare(new_side(run))


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
