"""``--baseline``: runs compared with earlier runs, and which run may become the next baseline."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest
from PIL import Image

from harness.records.run_folder import read_run
from tests.colours import COLOURS, EXPECTED, WNIDS
from tests.images import save
from tests.integration.conftest import Gate

CASE = "nearest-V1-fp32"
BASE = "--baseline=base"
UPDATE = "--baseline-update"
MORE = "  - {model: again, weights: V1, builder: tests.colours:nearest_colour, preset: *preset, colours: *values}\n"
NAN = "  - {model: nan, weights: V1, builder: tests.colours:always_nan, preset: *preset}\n"


def _record(project: Path) -> str:
    return (project / "base" / "record.json").read_text()


def _unpublished(project: Path) -> str:
    """Give the images a name for which nothing was published."""
    (project / "colours").rename(project / "mine")
    return "--imagenet=mine"


def test_a_dataset_without_published_values_is_judged_by_its_baseline(gate: Gate, project: Path) -> None:
    """Without either it fails and says how to record one; with one it is compared image by image."""
    mine = _unpublished(project)

    neither = gate(mine)
    recorded = gate(mine, BASE, UPDATE)
    paired = gate(mine, BASE)

    neither.assert_outcomes(failed=1)
    neither.stdout.fnmatch_lines(
        [
            "nearest: published values: none for nearest-V1 on mine; known on: colours",
            "    measured on 16 images: top-1 75.000 (12 correct), top-5 87.500 (14 correct)",
            "*or record this run as a baseline: --baseline DIR",
            "*accuracy in percent: mine, 16 images*",
            "*nearest * 75.000 * - * 87.500 * - *FAILED",
            "failed: nearest-V1-fp32: published values: none for nearest-V1 on mine; known*",
        ]
    )
    recorded.assert_outcomes(passed=1)
    recorded.stdout.fnmatch_lines(["baseline: base, none yet, to be recorded", "*passed", f"results: {project}/base"])
    paired.assert_outcomes(passed=1)
    paired.stdout.re_match_lines(
        [
            r"baseline: base, of \d{4}-\d\d-\d\d, torch ",
            r"against the baseline +changed +beyond noise +lost +gained +top-5 +drift$",
            r"nearest +0 +0 +0 +0 +0 \(0\) +0e\+00$",
        ]
    )


def test_the_record_holds_the_comparison(gate: Gate, project: Path) -> None:
    """The evidence, the outcome of each check (eight images judge no top-1), and what determined the input.

    A few scalars of it are properties of the test in JUnit's XML.
    """
    gate("--imagenet=colours", BASE, UPDATE)

    gate("--imagenet=colours", BASE, "--results=run", "--limit=8", "--junitxml=junit.xml")

    [case] = json.loads((project / "run" / "record.json").read_text())["cases"]
    assert [(check["name"], check["outcome"]) for check in case["checks"]] == [
        ("top-1", "not judged"), ("top-5", "passed"), ("baseline", "passed")
    ]  # fmt: skip
    assert {name: case["baseline"][name] for name in ("against", "images", "changed", "near_ties", "lost")} == {
        "against": CASE, "images": 8, "changed": 0, "near_ties": 0, "lost": 0
    }  # fmt: skip
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


def _other_weights(project: Path) -> None:
    (project / "expected_accuracy.yaml").write_text(EXPECTED.replace("nearest_colour", "nearest_colour_brighter"))


def _another_label(project: Path) -> None:
    (project / "colours" / WNIDS[0] / "00.JPEG").rename(project / "colours" / WNIDS[1] / "00.JPEG")


def _an_image_less(project: Path) -> None:
    (project / "colours" / WNIDS[0] / "00.JPEG").unlink()


def _another_image(project: Path) -> None:
    save(Image.new("RGB", (20, 14), COLOURS[7]), project / "colours" / WNIDS[0] / "00.JPEG", quality=95)


def _another_mean(project: Path) -> None:
    (project / "expected_accuracy.yaml").write_text(EXPECTED.replace("mean: [0.5, 0.5", "mean: [0.9, 0.1"))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (_other_weights, "nearest: the model has other weights (sha256 ????????, before ????????)"),
        (
            _another_label,
            "nearest: 1 of 16 images have another label",
        ),
        (
            _an_image_less,
            "nearest: cannot be paired: set of images: 15 images, before 16; gone: 1, such as 00.JPEG*",
        ),
        (
            _another_image,
            "nearest: the model was shown other pixels (1 of 16 images, up to * of 255 levels)",
        ),
        (
            _another_mean,
            "nearest: the same pixels were normalized differently (*, before *)",
        ),
    ],
)
def test_a_failure_names_the_first_difference(change: object, sentence: str, gate: Gate, project: Path) -> None:
    """Weights, labels, images, decoded pixels or normalization."""
    gate("--imagenet=colours", BASE, UPDATE).assert_outcomes(passed=1)
    assert callable(change)
    change(project)

    result = gate("--imagenet=colours", BASE)

    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines([f"*{sentence}"])


def test_what_changed_no_prediction_is_a_warning_if_something_named_explains_it(gate: Gate, project: Path) -> None:
    """Shown with its diagnosis below the table; a failure if nothing does; the options turn either."""
    gate("--imagenet=colours", BASE, UPDATE).assert_outcomes(passed=1)
    brighter = tuple(value + 2 for value in COLOURS[0])
    save(Image.new("RGB", (20, 14), brighter), project / "colours" / WNIDS[0] / "00.JPEG", quality=95)

    unexplained = gate("--imagenet=colours", BASE)
    allowed = gate("--imagenet=colours", BASE, "--allow-drift")
    record = json.loads(_record(project))
    record["environment"]["pillow"] = "12.0.0"
    (project / "base" / "record.json").write_text(json.dumps(record))
    warning = gate("--imagenet=colours", BASE)
    strict = gate("--imagenet=colours", BASE, "--strict-drift")

    unexplained.assert_outcomes(failed=1)
    unexplained.stdout.fnmatch_lines(
        [
            "nearest: the model was shown other pixels (1 of 16 images, up to * of 255 levels)",
            "    likely cause: other image files or other code, since decoder, recipe and",
            "      versions are the same",
            "    no prediction changed beyond noise, but no named difference of the",
        ]
    )
    allowed.assert_outcomes(passed=1)
    warning.assert_outcomes(passed=1)
    warning.stdout.fnmatch_lines(
        [
            "*warning",
            f"warning: {CASE}: the model was shown other pixels (1 of 16 *",
            "    likely cause: pillow 12.0.0 -> *",
            "    effect: 0 of 16 predictions changed",
        ]
    )
    strict.assert_outcomes(failed=1)


def test_what_a_new_baseline_replaces_is_shown(gate: Gate, project: Path) -> None:
    """Changed predictions do not fail then, and the next run is compared with the new one."""
    mine = _unpublished(project)
    gate(mine, BASE, UPDATE)
    save(Image.new("RGB", (20, 14), COLOURS[7]), project / "mine" / WNIDS[0] / "00.JPEG", quality=95)

    result = gate(mine, BASE, UPDATE)

    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(
        [
            f"warning: {CASE}: will be replaced despite differences: the *",
            "    effect: 1 of 16 predictions changed, 1 beyond noise*",
            f"results: {project}/base",
        ]
    )
    gate(mine, BASE).assert_outcomes(passed=1)


def test_a_run_that_failed_the_published_check_does_not_replace_the_baseline(gate: Gate, project: Path) -> None:
    """Unless ``--baseline-accept-failed`` is given."""
    gate("--imagenet=colours", BASE, UPDATE)
    before = _record(project)
    (project / "expected_accuracy.yaml").write_text(EXPECTED.replace("acc@1: 75.0", "acc@1: 81.25"))

    rejected = gate("--imagenet=colours", BASE, UPDATE)
    kept = _record(project)
    accepted = gate("--imagenet=colours", BASE, UPDATE, "--baseline-accept-failed")

    rejected.assert_outcomes(failed=1)
    rejected.stdout.fnmatch_lines(
        [f"NOT WRITTEN: 1 of 1 cases failed the check against the published values, such as {CASE};*"]
    )
    assert kept == before
    accepted.assert_outcomes(failed=1)
    accepted.stdout.fnmatch_lines([f"results: {project}/base"])
    [case] = read_run(project / "base").record.cases
    assert case.outcome == "failed"
    assert sorted(path.name for path in project.iterdir() if path.name.startswith("base")) == ["base"]


def test_an_incomplete_run_does_not_replace_the_baseline(gate: Gate, project: Path) -> None:
    """A case without a result, or one that the baseline has and this run lacks."""
    (project / "expected_accuracy.yaml").write_text(EXPECTED + MORE)
    gate("--imagenet=colours", "--models=all", BASE, UPDATE).assert_outcomes(passed=2)
    before = _record(project)

    fewer = gate("--imagenet=colours", "--models=nearest", BASE, UPDATE)
    deselected = gate("--imagenet=colours", "--models=all", BASE, UPDATE, "-k", "nearest")
    (project / "expected_accuracy.yaml").write_text(EXPECTED + MORE + NAN)
    error = gate("--imagenet=colours", "--models=all", BASE, UPDATE)

    assert fewer.ret == pytest.ExitCode.USAGE_ERROR
    fewer.stderr.fnmatch_lines(["*--baseline-update: base would lose again-V1-fp32, not among the cases of this run;*"])
    assert deselected.ret == pytest.ExitCode.TESTS_FAILED
    deselected.stdout.fnmatch_lines(["NOT WRITTEN: base would lose again-V1-fp32*"])
    assert error.ret == pytest.ExitCode.TESTS_FAILED
    error.stdout.fnmatch_lines(["NOT WRITTEN: 1 of 3 cases were not evaluated, such as nan-V1-fp32"])
    assert _record(project) == before


def test_a_damaged_baseline_is_an_error_and_can_be_replaced(gate: Gate, project: Path) -> None:
    """An error before anything is evaluated; a warning when it is replaced."""
    gate("--imagenet=colours", BASE, UPDATE)
    [inputs] = (project / "base" / "inputs").iterdir()
    inputs.write_bytes(inputs.read_bytes()[:100])

    compared = gate("--imagenet=colours", BASE)
    replaced = gate("--imagenet=colours", BASE, UPDATE)

    assert compared.ret == pytest.ExitCode.USAGE_ERROR
    compared.stderr.fnmatch_lines(["ERROR: base/inputs/*.npz: damaged (*); the run cannot be compared image by image"])
    replaced.assert_outcomes(passed=1)
    replaced.stdout.fnmatch_lines([f"warning: {CASE}: recorded without pairing:*"])
    gate("--imagenet=colours", BASE, "--strict-drift").assert_outcomes(passed=1)


def test_another_setting_is_compared_with_the_default_one(gate: Gate, project: Path) -> None:
    """Contiguous against the baseline's channels_last; a model that it lacks is judged by published values alone."""
    gate("--imagenet=colours", BASE, UPDATE)
    (project / "expected_accuracy.yaml").write_text(EXPECTED + MORE)

    other = gate("--imagenet=colours", "--models=nearest", BASE, "--memory-format=contiguous", "--strict-drift")
    lacks = gate("--imagenet=colours", "--models=again", BASE)

    other.assert_outcomes(passed=1)
    other.stdout.re_match_lines([r"=+ accuracy in percent: colours, 16 images, fp32-contiguous =+$", r"nearest +0 +0 "])
    lacks.assert_outcomes(passed=1)
    lacks.stdout.fnmatch_lines(["warning: again-V1-fp32: *base holds no case of again-V1, so its*"])


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((BASE,), "--baseline base: expected a run folder * found nothing; record one with --baseline-update"),
        (
            ("--baseline=colours",),
            "--baseline colours: expected a run folder *, found no record.json; *",
        ),
        (("--baseline=expected_accuracy.yaml",), "--baseline expected_accuracy.yaml: expected JSON *"),
        ((UPDATE,), "--baseline-update needs --baseline DIR: the folder to write"),
        ((BASE, UPDATE, "--results=run"), "--baseline-update writes the run to --baseline: leave out --results"),
        ((BASE, "--results=./base"), "--results would replace the baseline: name another folder, or give --base*"),
        (
            (BASE, "--baseline-accept-failed"),
            "--baseline-accept-failed has no effect without --baseline-update",
        ),
        (("--strict-drift",), "--strict-drift needs --baseline DIR: drift is measured from an earlier run"),
        (("--allow-drift",), "--allow-drift needs --baseline DIR: drift is measured from an earlier run"),
        ((BASE, "--allow-drift", "--strict-drift"), "--strict-drift and --allow-drift exclude each other: *"),
        ((BASE, UPDATE, "--strict-drift"), "--strict-drift and --baseline-update exclude each other: *"),
        (
            ("--baseline=colours", UPDATE),
            "--baseline colours: expected a new or empty folder, *; found * in it*",
        ),
    ],
)
def test_usage_errors_of_the_baseline(arguments: tuple[str, ...], sentence: str, gate: Gate) -> None:
    """One sentence before anything is evaluated."""
    result = gate("--imagenet=colours", *arguments)

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: {sentence}"])


def test_a_baseline_of_other_images_or_an_older_schema_is_an_error(gate: Gate, project: Path) -> None:
    """A baseline of other images is not replaced either; one of an older schema can be, with a warning."""
    gate("--imagenet=colours", BASE, UPDATE)
    for folder in sorted((project / "colours").iterdir()):
        for number, image in enumerate(sorted(folder.iterdir())):
            (project / "other" / folder.name).mkdir(parents=True, exist_ok=True)
            image.rename(project / "other" / folder.name / f"other-{number}-{image.name}")

    other = gate("--imagenet=other", BASE)
    kept = gate("--imagenet=other", BASE, UPDATE)
    values = json.loads(_record(project))
    (project / "base" / "record.json").write_text(json.dumps({**values, "schema_version": "1.0"}))
    older = gate("--imagenet=other", BASE)
    replaced = gate("--imagenet=other", BASE, UPDATE)

    assert {other.ret, kept.ret, older.ret} == {pytest.ExitCode.USAGE_ERROR}
    other.stderr.fnmatch_lines(["ERROR: --baseline base: has 16 images of colours, none of which is among the 16 of *"])
    older.stderr.fnmatch_lines(["ERROR: --baseline base/record.json: schema_version must be 3.x, found '1.0'*"])
    replaced.assert_outcomes(passed=1)
    kept.stderr.fnmatch_lines(["ERROR: --baseline base: has 16 images of colours, * name another folder"])
    replaced.stdout.fnmatch_lines(["baseline: to be replaced without pairing: base/record.json: schema_version must"])
