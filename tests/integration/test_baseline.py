"""``--baseline``: runs compared with earlier runs, and which run may become the next baseline."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from PIL import Image

from harness.baseline.pairing import NOISE_FLOORS
from harness.compare.compare import compare
from harness.records.evidence import Pairing
from harness.records.run_folder import read_run
from tests.colors import COLORS, WNIDS
from tests.images import save
from tests.integration.conftest import Gate, entry, expect

CASE = "nearest-V1-fp32"
COMPARE = ("--imagenet=colors", "--baseline=base")
UPDATE = (*COMPARE, "--baseline-update")
MINE = "--imagenet=mine"


def _record(project: Path) -> dict[str, Any]:
    values: dict[str, Any] = json.loads((project / "base" / "record.json").read_text())
    return values


def _paint(project: Path, color: tuple[int, ...], dataset: str = "colors") -> None:
    """Give another color to the first image."""
    save(Image.new("RGB", (20, 14), color), project / dataset / WNIDS[0] / "00.JPEG", quality=95)


def test_a_dataset_without_published_values_is_judged_by_its_baseline(gate: Gate, project: Path) -> None:
    """Without either it fails and says how to record one; an update shows what it replaces, and does not fail."""
    (project / "colors").rename(project / "mine")

    neither = gate(MINE)
    recorded = gate(*UPDATE, MINE)
    paired = gate(*COMPARE, MINE)
    _paint(project, COLORS[7], "mine")
    replaced = gate(*UPDATE, MINE)
    again = gate(*COMPARE, MINE)

    neither.assert_outcomes(failed=1)
    neither.stdout.fnmatch_lines(
        [
            "nearest: published values: none for nearest-V1 on mine; published for colors",
            "    measured on 16 images: top-1 75.000 (12 correct), top-5 87.500 (14 correct)",
            "*or record this run as a baseline: --baseline DIR",
            "*accuracy in percent: mine, 16 images*",
            "*nearest * 75.000 * - * 87.500 * - *FAILED",
            "failed: nearest-V1-fp32: published values: none for nearest-V1 on mine;*",
        ]
    )
    for result in (recorded, paired, replaced, again):
        result.assert_outcomes(passed=1)
    recorded.stdout.fnmatch_lines(
        ["baseline: base, not recorded yet; this run will be", "*passed", f"results: {project}/base"]
    )
    paired.stdout.re_match_lines(
        [
            r"baseline: base, recorded \d{4}-\d\d-\d\d with torch ",
            r"against the baseline +changed +beyond noise +lost +gained +top-5 +drift$",
            r"nearest +0 +0 +0 +0 +0 \(0\) +0e\+00$",
        ]
    )
    replaced.stdout.fnmatch_lines(
        [
            f"warning: {CASE}: will be replaced despite differences: the *",
            "    effect: 1 of 16 predictions changed, 1 beyond noise*",
            f"results: {project}/base",
        ]
    )


def test_the_record_holds_the_comparison(gate: Gate, project: Path) -> None:
    """The evidence, the outcome of each check (eight images judge no top-1), and what determined the input.

    A few scalars of it are properties of the test in JUnit's XML.
    """
    gate(*UPDATE)

    gate(*COMPARE, "--results=run", "--limit=8", "--junitxml=junit.xml")

    [case] = json.loads((project / "run" / "record.json").read_text())["cases"]
    outcomes = {"top-1": "not judged", "top-5": "passed", "baseline": "passed"}
    assert outcomes == {check["name"]: check["outcome"] for check in case["checks"]}
    evidence = {"against": CASE, "images": 8, "changed": 0, "near_ties": 0, "lost": 0}
    assert evidence.items() <= case["baseline"].items()
    assert case["preparation"] == {
        "decoder": "pillow", "resize": 8, "crop": 8, "interpolation": "bilinear", "mean": [0.5] * 3, "std": [0.5] * 3
    }  # fmt: skip
    assert case["switches"]["cudnn.allow_tf32"] is False
    assert -1 < case["first_input"]["low"] < case["first_input"]["high"] < 1
    scalars = ElementTree.parse(project / "junit.xml").findall(".//property")
    percent = {metric: str(100 * case["counts"][metric] / 8) for metric in ("top1", "top5")}
    diagnosis = "no logit moved; likely cause: options --workers 2 -> --limit 8 --workers 2"
    assert {"outcome": "passed", **percent, "diagnosis": diagnosis} == {
        scalar.get("name"): scalar.get("value") for scalar in scalars
    }


def _another_label(project: Path) -> None:
    (project / "colors" / WNIDS[0] / "00.JPEG").rename(project / "colors" / WNIDS[1] / "00.JPEG")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (
            lambda project: expect(project, {"nearest_color": "nearest_color_brighter"}),
            "the weights differ (sha256 ????????, before ????????)",
        ),
        (_another_label, "1 of 16 images have a different label"),
        (
            lambda project: (project / "colors" / WNIDS[0] / "00.JPEG").unlink(),
            "cannot be paired: set of images: 15 images, before 16; missing: 1, such as 00.JPEG*",
        ),
        (
            lambda project: _paint(project, COLORS[7]),
            "the decoded pixels differ (1 of 16 images, up to * of 255 levels)",
        ),
        (
            lambda project: expect(project, {"mean: [0.5, 0.5": "mean: [0.9, 0.1"}),
            "the same pixels were normalized differently (*, before *)",
        ),
    ],
    ids=["weights", "labels", "images", "pixels", "normalization"],
)
def test_a_failure_names_the_first_difference(
    change: Callable[[Path], None], sentence: str, gate: Gate, project: Path
) -> None:
    """As recorded in the baseline and in this run; compare comes to the same verdict on the two."""
    gate(*UPDATE).assert_outcomes(passed=1)
    change(project)

    result = gate(*COMPARE, "--results=run")

    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines([f"*nearest: {sentence}"])
    base, run = read_run(project / "base"), read_run(project / "run")
    assert [run.record.cases[0].verdict] == [pair.new.verdict for pair in compare(base, run).accuracy]


def test_what_changed_no_prediction_is_a_warning_if_something_named_explains_it(gate: Gate, project: Path) -> None:
    """Shown with its diagnosis below the table; a failure if nothing does; the options turn either."""
    gate(*UPDATE).assert_outcomes(passed=1)
    _paint(project, tuple(value + 2 for value in COLORS[0]))

    unexplained = gate(*COMPARE)
    allowed = gate(*COMPARE, "--allow-drift")
    record = _record(project)
    record["environment"]["pillow"] = "12.0.0"
    (project / "base" / "record.json").write_text(json.dumps(record))
    warning = gate(*COMPARE)
    strict = gate(*COMPARE, "--strict-drift")

    assert [1, 0, 0, 1] == [result.ret for result in (unexplained, allowed, warning, strict)]
    unexplained.stdout.fnmatch_lines(
        [
            "nearest: the decoded pixels differ (1 of 16 images, up to * of 255 levels)",
            "    likely cause: different image files or code, since decoder, recipe and",
            "      versions are the same",
            "    no prediction changed beyond noise, but no named difference of the",
        ]
    )
    warning.stdout.fnmatch_lines(
        [
            "*warning",
            f"warning: {CASE}: the decoded pixels differ (1 of 16 *",
            "    likely cause: pillow 12.0.0 -> *",
            "    effect: 0 of 16 predictions changed",
        ]
    )


def test_a_run_that_failed_the_published_check_does_not_replace_the_baseline(gate: Gate, project: Path) -> None:
    """Unless ``--baseline-accept-failed`` is given."""
    gate(*UPDATE)
    before = _record(project)
    expect(project, {"acc@1: 75.0": "acc@1: 81.25"})

    rejected = gate(*UPDATE)
    kept = _record(project)
    accepted = gate(*UPDATE, "--baseline-accept-failed")

    assert [1, 1] == [rejected.ret, accepted.ret]
    rejected.stdout.fnmatch_lines(
        [
            f"NOT WRITTEN: 1 of 1 cases failed the check against the published values, such as {CASE}; "
            "--baseline-accept-failed stores them anyway",
        ]
    )
    assert before == kept
    accepted.stdout.fnmatch_lines([f"results: {project}/base"])
    assert ["failed"] == [case.outcome for case in read_run(project / "base").record.cases]
    assert [project / "base"] == list(project.glob("base*"))


def test_an_incomplete_run_does_not_replace_the_baseline(gate: Gate, project: Path) -> None:
    """A case without a result, or one that the baseline has and this run lacks."""
    expect(project, {}, entry("again"))
    gate("--models=all", *UPDATE).assert_outcomes(passed=2)
    before = _record(project)

    fewer = gate("--models=nearest", *UPDATE)
    deselected = gate("--models=all", *UPDATE, "-k", "nearest")
    expect(project, {}, entry("again"), entry("nan", "tests.colors:always_nan"))
    error = gate("--models=all", *UPDATE)

    assert [4, 1, 1] == [result.ret for result in (fewer, deselected, error)]
    lost = "base would lose again-V1-fp32, not among the cases of this run; run them too, or name another folder"
    fewer.stderr.fnmatch_lines([f"ERROR: --baseline-update: {lost}"])
    deselected.stdout.fnmatch_lines([f"NOT WRITTEN: {lost}"])
    error.stdout.fnmatch_lines(["NOT WRITTEN: 1 of 3 cases were not evaluated, such as nan-V1-fp32"])
    assert before == _record(project)


def test_another_setting_is_compared_with_the_default_one(gate: Gate, project: Path) -> None:
    """By the higher noise floor; a model that the baseline lacks is judged by published values alone."""
    gate(*UPDATE)
    expect(project, {}, entry("again"))

    other = gate(*COMPARE, "--models=nearest", "--precision=bf16", "--memory-format=contiguous", "--results=run")
    lacks = gate(*COMPARE, "--models=again")

    assert [0, 0] == [other.ret, lacks.ret]
    other.stdout.re_match_lines([r"=+ accuracy in percent: colors, 16 images, bf16-contiguous =+$", r"nearest +0 +0 "])
    evidence = read_run(project / "run").record.cases[0].baseline
    assert isinstance(evidence, Pairing)
    assert (CASE, NOISE_FLOORS["bf16"]) == (evidence.against, evidence.noise_floor)
    lacks.stdout.fnmatch_lines(
        [
            "warning: again-V1-fp32: base holds no case of again-V1, so its predictions are",
            "*compared with nothing;*",
        ]
    )
