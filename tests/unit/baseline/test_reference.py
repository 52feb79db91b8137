"""Tests of the baseline that harness.baseline.plugin compares with, by real run folders."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from harness.baseline.pairing import Side, side_of
from harness.baseline.plugin import Reference, open_reference
from harness.dataset import ImageDataset
from harness.errors import RecordError, ResultsError
from harness.expected import Case, Entry, ModelSpec
from harness.precision import Setting
from harness.records.evidence import Pairing, Policy, Unpaired
from harness.records.results import CaseResult, Missing
from harness.records.run_folder import Run
from tests.records import case_result, expected, run_record, write_run

UPDATING = Policy(updating=True)


def dataset(first: int = 0, images: int = 1000, name: str = "imagenet-1k", total: int | None = None) -> ImageDataset:
    """Return a dataset of images that exist by name only."""
    return ImageDataset(
        name=name,
        format="",
        root=Path("nowhere"),
        ids=tuple(f"{number:04}.JPEG" for number in range(first, first + images)),
        sources=(),
        targets=np.ones(images, np.int16),
        classes=(),
        fingerprint="",
        whole=None if total is None else dataset(images=total),
    )


def case(model: str = "resnet18", precision: str = "fp32") -> Case:
    """Return a case as it is selected."""
    return Case(Entry(ModelSpec(model, "IMAGENET1K_V1")), Setting(precision))


def new_side(run: Run, **changes: Any) -> Side:
    """Return the first case of a run as if it had just been evaluated."""
    side = side_of(run, run.record.cases[0])
    return side._replace(result=msgspec.structs.replace(side.result, **changes))


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Return a run of two models."""
    return write_run(tmp_path / "base", run_record([case_result(), case_result("alexnet")]))


def test_a_case_is_compared_with_the_same_case(run: Run) -> None:
    """Or with its model in the default setting, by the higher noise floor."""
    reference = open_reference(dataset(), run.path, Policy())

    same = reference.compare(new_side(run))
    other = reference.compare(new_side(run, id="resnet18-IMAGENET1K_V1-bf16", precision="bf16"))

    assert str(reference) == f"{run.path}, of 2026-11-24, torch 2.9.1"
    assert isinstance(same, Pairing)
    assert isinstance(other, Pairing)
    assert (same.against, same.images, same.changed) == ("resnet18-IMAGENET1K_V1-fp32", 1000, 0)
    assert other.against == same.against
    assert other.noise_floor.largest > same.noise_floor.largest


def test_a_model_that_the_baseline_lacks_has_nothing_to_be_compared_with(run: Run) -> None:
    """The reason names the folder and the model."""
    reference = open_reference(dataset(), run.path, Policy())

    found = reference.compare(new_side(run, id="vgg16-IMAGENET1K_V1-fp32", model="vgg16"))

    reason = f"{run.path} holds no case of vgg16-IMAGENET1K_V1, so its predictions are compared with nothing"
    assert found == Unpaired("missing", reason)


def test_damage_is_found_before_anything_is_evaluated(run: Run) -> None:
    """Of the cases that will be compared; while the baseline is updated it is compared with nothing."""
    (run.path / "predictions" / "alexnet-IMAGENET1K_V1-fp32.npz").write_bytes(b"cut short")
    reference, updating = (open_reference(dataset(), run.path, policy) for policy in (Policy(), UPDATING))
    alexnet = new_side(run, id="alexnet-IMAGENET1K_V1-fp32", model="alexnet")

    reference.check([case()])
    updating.check([case(), case("alexnet")])
    with pytest.raises(RecordError, match=r"alexnet-IMAGENET1K_V1-fp32\.npz: damaged"):
        reference.check([case(), case("alexnet", "bf16")])
    with pytest.raises(RecordError, match=r"alexnet-IMAGENET1K_V1-fp32\.npz: damaged"):
        reference.compare(alexnet)
    found = updating.compare(alexnet)

    assert isinstance(found, Unpaired)
    assert (found.why, found.policy) == ("damaged", UPDATING)
    verdict = msgspec.structs.replace(alexnet.result, baseline=found).verdict
    assert verdict.outcome == "warning"
    assert verdict.checks[-1].detail.startswith("recorded without pairing: ")


def test_counts_that_were_changed_are_damage(run: Run) -> None:
    """The record's counts must be those of the predictions."""
    changed = msgspec.structs.replace(run.record.cases[0], counts=case_result(counts=(1000, 701, 900)).counts)
    other = Run(run.path, msgspec.structs.replace(run.record, cases=(changed,)))

    with pytest.raises(RecordError, match=r"predictions of resnet18-IMAGENET1K_V1-fp32 give 700 \(top-1\)"):
        Reference(run.path, Policy(), other).check([case()])


@pytest.mark.parametrize("content", [None, "file", "no cases", "no labels"])
def test_what_is_no_run_is_an_error_unless_it_is_to_be_replaced(content: str | None, tmp_path: Path) -> None:
    """Nothing, a file, a run without cases, a run that is damaged."""
    path = tmp_path / "base"
    if content == "file":
        path.write_text("{}")
    elif content is not None:
        write_run(path, run_record([case_result()] if content == "no labels" else []))
        (path / "labels.npz").unlink(missing_ok=True)
    message = {
        None: "expected a run folder .* found nothing; record one with --baseline-update",
        "file": "expected a record of this harness",
        "no cases": "expected a run with evaluated cases, found none",
        "no labels": "labels.npz: missing",
    }[content]

    with pytest.raises(RecordError, match=f"^--baseline {path}.*{message}"):
        open_reference(dataset(), path, Policy())
    updating = open_reference(dataset(), path, UPDATING)

    assert updating.run is None
    first = f"{path}, none yet, to be recorded" if content is None else "to be replaced without pairing: "
    assert str(updating).startswith(first)
    assert updating.storing_error(run_record([case_result()]), accept_failed=False) is None


def test_a_run_that_was_killed_while_it_replaced_a_baseline_left_it_beside(run: Run) -> None:
    """The message says how to get it back."""
    aside = run.path.rename(run.path.with_name("base.replaced-1234"))

    with pytest.raises(RecordError, match=f"a run was killed while it replaced it: rename {aside} back"):
        open_reference(dataset(), run.path, Policy())


def test_a_baseline_must_share_images(run: Run) -> None:
    """A baseline of other images altogether is the wrong folder; one of some is decided case by case."""
    with pytest.raises(
        RecordError, match=r"has 1,000 images of .*, none of which is among the 10 of val; name another"
    ):
        open_reference(dataset(1000, 10, "val"), run.path, Policy())

    assert open_reference(dataset(999, 10, "val"), run.path, Policy()).run is not None


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (dataset(500, name="val"), "is of imagenet-1k, and 500 of the 1,000 images of val are not among its 1,000"),
        (dataset(images=100, total=1000), "holds 1,000 images and would be reduced to 100; leave out --limit"),
    ],
)
def test_an_update_must_not_lose_images(images: ImageDataset, message: str, run: Run) -> None:
    """Neither to another dataset nor to a subset."""
    with pytest.raises(ResultsError, match=message):
        open_reference(images, run.path, UPDATING)


def test_an_update_must_not_lose_cases(run: Run) -> None:
    """Before anything is evaluated, and again before it is written."""
    reference = open_reference(dataset(), run.path, UPDATING)
    message = f"{run.path} would lose alexnet-IMAGENET1K_V1-fp32, not among the cases of this run; "

    with pytest.raises(ResultsError, match=f"^--baseline-update: {message}"):
        reference.check([case()])
    error = reference.storing_error(run_record([case_result()]), accept_failed=False)

    assert error is not None
    assert error.startswith(message)


@pytest.mark.parametrize(
    ("cases", "accept_failed", "error"),
    [
        ([case_result(), case_result("alexnet"), case_result("vgg16")], False, None),
        (
            [case_result(), Missing("alexnet-IMAGENET1K_V1-fp32")],
            True,
            "1 of 2 cases were not evaluated, such as alexnet-IMAGENET1K_V1-fp32",
        ),
        (
            [case_result(), case_result("alexnet", expected=expected(1000, 702, 900))],
            False,
            "1 of 2 cases failed the check against the published values, such as alexnet-IMAGENET1K_V1-fp32; "
            "--baseline-accept-failed stores them anyway",
        ),
        ([case_result(), case_result("alexnet", expected=expected(1000, 702, 900))], True, None),
        ([case_result(), case_result("alexnet", baseline=Unpaired("different", "other images"))], False, None),
    ],
    ids=["complete", "not evaluated", "failed", "failed and accepted", "only the baseline failed"],
)
def test_what_may_replace_a_baseline(
    cases: list[CaseResult | Missing], accept_failed: bool, error: str | None, run: Run
) -> None:
    """A complete run that is right by all other checks."""
    reference = open_reference(dataset(), run.path, UPDATING)

    assert error == reference.storing_error(run_record(cases), accept_failed=accept_failed)
