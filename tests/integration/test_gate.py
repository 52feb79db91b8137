"""The gate as a user sees it: outcomes, messages, table, exit status."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torchvision

from harness.evaluation.models import load
from tests.colours import EXPECTED
from tests.integration.conftest import Gate


def replace_expected(project: Path, old: str, new: str) -> None:
    """Write the file of expected values anew, with one change."""
    assert old in EXPECTED
    (project / "expected_accuracy.yaml").write_text(EXPECTED.replace(old, new))


def test_a_sound_model_passes(gate: Gate) -> None:
    """Exit status 0, a header that says what ran, and a table with every value."""
    result = gate("--imagenet=colours", "--device=cpu", "--batch-size=5")

    assert result.ret == pytest.ExitCode.OK
    [title] = [number for number, line in enumerate(result.outlines) if "accuracy in percent" in line]
    assert "" not in result.outlines[title:]
    result.assert_outcomes(passed=1)
    result.stdout.re_match_lines(
        [
            r"split: colours \(colours\), 16 images, 8 classes$",
            r"device: cpu \(.*\), fp32, batches of 5(, freed memory kept)?$",
            r"decoder: pillow, 2 processes, decoded images kept in .*/store$",
            r"versions: torch .*, torchvision .*, numpy .*, pillow .*, libjpeg-turbo .*$",
            r"=+ accuracy in percent: colours, 16 images =+$",
            r"  model +weights +top-1 +published +diff +top-5 +published +diff +params +GFLOPs +images/s +verdict$",
            r" +nearest +V1  +75.000 +75.000 +\+0.000 +87.500 +87.500 +\+0.000 +0.0M +0.00 +[\d,]+  held$",
        ]
    )


@pytest.mark.parametrize(
    ("published", "lines"),
    [
        (
            "acc@1: 81.25, acc@5: 87.5",
            [
                "nearest-V1-fp32 on colours",
                "top-1: FAILED: measured 75.000, published 81.250, difference -6.250 points = -1 of 16 images, "
                "tolerance ±0.05 points = 0 images",
                "top-5: held: measured 87.500, published 87.500, difference +0.000 points = +0 of 16 images, "
                "tolerance ±0.05 points = 0 images",
            ],
        ),
        (
            "acc@1: 75.0, acc@5: 81.25",
            [
                "nearest-V1-fp32 on colours",
                "top-1: held: measured 75.000, published 75.000, difference +0.000 points = +0 of 16 images, "
                "tolerance ±0.05 points = 0 images",
                "top-5: FAILED: measured 87.500, published 81.250, difference +6.250 points = +1 of 16 images, "
                "tolerance ±0.05 points = 0 images",
            ],
        ),
    ],
    ids=["top-1 below", "top-5 above"],
)
def test_a_deviation_fails_in_a_few_lines(gate: Gate, project: Path, published: str, lines: list[str]) -> None:
    """One image off, below or above, fails; the message is these lines and no traceback."""
    replace_expected(project, "acc@1: 75.0, acc@5: 87.5", published)

    result = gate("--imagenet=colours")

    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.assert_outcomes(failed=1)
    shown = result.outlines
    start = shown.index(lines[0])
    assert shown[start : start + 3] == lines
    assert shown[start - 1].startswith("___")
    assert shown[start + 3].startswith("===")
    result.stdout.re_match_lines([r" +nearest .* FAILED$"])


def test_a_tolerance_lets_a_deviation_pass(gate: Gate, project: Path) -> None:
    """Within its own tolerance of an entry a deviation is held, and shown."""
    replace_expected(project, "acc@1: 75.0, acc@5: 87.5", "acc@1: 81.25, acc@5: 87.5, tolerance: 6.25")

    result = gate("--imagenet=colours")

    result.assert_outcomes(passed=1)
    result.stdout.re_match_lines([r" +nearest .* 75.000 +81.250 +-6.250 .* held$"])


def test_a_split_without_published_values_fails_with_the_measured_ones(gate: Gate, project: Path) -> None:
    """What cannot be judged is not passed: message and table show what was measured, and what to do."""
    (project / "colours").rename(project / "unknown")

    result = gate("--imagenet=unknown")

    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            "published values: FAILED: none for nearest-V1 on unknown; known on: colours. Measured on 16 images: "
            "top-1 75.000 (12 hits), top-5 87.500 (14 hits). *",
            "*accuracy in percent: unknown, 16 images*",
            "*nearest  V1 * 75.000 * - * - * 87.500 * - * - *FAILED",
        ]
    )


def test_a_model_that_answers_nothing_is_an_error(gate: Gate, project: Path) -> None:
    """Not a number is not a miss: the test errors, names the image, and the table has no values for it."""
    replace_expected(project, "nearest_colour", "always_nan")

    result = gate("--imagenet=colours")

    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(
        [
            "16 of 16 images got logits that are not finite, the first of them 00.JPEG",
            "*accuracy in percent: nothing was evaluated*",
            "  nearest-V1-fp32: ERROR, no values (the reason stands above)",
        ]
    )


def test_models_do_not_leak_into_each_other(gate: Gate, project: Path) -> None:
    """Each of three entries is scored by itself, ranked, and equal ones are ties."""
    again = """\
  - {model: again, weights: V1, builder: tests.colours:nearest_colour, preset: *preset, colours: *values}
  - {model: nan, weights: V1, builder: tests.colours:always_nan, preset: *preset, colours: *values}
"""
    (project / "expected_accuracy.yaml").write_text(EXPECTED + again)

    result = gate("--imagenet=colours", "--models=all")

    result.assert_outcomes(passed=2, errors=1)
    result.stdout.re_match_lines(
        [
            r" +again  .* 75.000 .* held$",
            r"~ +nearest .* 75.000 .* held$",
            r"  nan-V1-fp32: ERROR",
            r"~ not significantly different from the row above on the same images",
        ]
    )


def test_an_interrupted_run_says_what_was_not_evaluated(gate: Gate, project: Path) -> None:
    """With -x the case after the first failure is shown as not run, not left out."""
    again = "  - {model: again, weights: V1, builder: tests.colours:nearest_colour, preset: *preset}\n"
    replace_expected(project, "acc@1: 75.0", "acc@1: 81.25")
    with (project / "expected_accuracy.yaml").open("a") as file:
        file.write(again)

    result = gate("--imagenet=colours", "--models=all", "-x")

    result.assert_outcomes(failed=1)
    result.stdout.re_match_lines([r" +nearest .* FAILED$", r" +again-V1-fp32: not run$"])


def test_a_limit_is_judged_by_the_sampling_band(gate: Gate) -> None:
    """A subset passes within the band; the run says how many images of how many, and what that could miss."""
    result = gate("--imagenet=colours", "--limit=8")

    result.assert_outcomes(passed=1)
    result.stdout.re_match_lines(
        [
            r"split: colours \(colours\), 8 of 16 images, 8 classes$",
            r".*colours, 8 images =+$",
            r"judged on a subset of the images, which could miss a drop of top-1 by up to .* points and of top-5 by ",
        ]
    )


def test_a_limit_can_fail_and_says_what_it_could_miss(gate: Gate, project: Path) -> None:
    """Outside the band the message names the allowed hits, and how large a drop the subset could miss."""
    replace_expected(project, "acc@1: 75.0, acc@5: 87.5", "acc@1: 0, acc@5: 87.5")

    result = gate("--imagenet=colours", "--limit=8")

    result.assert_outcomes(failed=1)
    result.stdout.re_match_lines(
        [
            r"top-1: FAILED: measured .*, published 0.000; allowed on 8 of 16 images 0.00 to 0.00 .*; "
            r"a drop of up to 0.00 points could be missed$",
        ]
    )


@pytest.mark.usefixtures("every_line")
def test_a_terse_run_shows_no_progress(gate: Gate) -> None:
    """With -q there are no lines of progress; without it there are, of decoding and of the forward."""
    loud, terse = gate("--imagenet=colours", "--batch-size=8"), gate("--imagenet=colours", "-q", "--no-store")

    loud.stdout.re_match_lines(
        [
            r"nearest-V1-fp32: decoding: 0 of 16 images$",
            r"nearest-V1-fp32: forward: 0 of 16 images$",
            r"nearest-V1-fp32: forward: 8 of 16 images, [\d,.]+ images/s, 0 s left$",
        ]
    )
    assert not [line for line in terse.outlines if "forward" in line or "decoding" in line]
    assert (loud.ret, terse.ret) == (0, 0)


def test_a_short_run_shows_no_progress(gate: Gate) -> None:
    """Without a terminal, as in CI, work of less than ten seconds leaves no line."""
    result = gate("--imagenet=colours")

    assert not [line for line in result.outlines if line.startswith("nearest-V1-fp32: ")]


@pytest.mark.usefixtures("every_line")
def test_models_of_one_geometry_follow_each_other(gate: Gate, project: Path) -> None:
    """Whatever their order in the file, each geometry is decoded once."""
    other = "{resize: 9, crop: 8, interpolation: bilinear, mean: [0.5, 0.5, 0.5], std: [0.5, 0.5, 0.5]}"
    build = "weights: V1, builder: tests.colours:nearest_colour, colours: *values"
    with (project / "expected_accuracy.yaml").open("a") as file:
        file.write(f"  - {{model: other, {build}, preset: {other}}}\n  - {{model: again, {build}, preset: *preset}}\n")

    result = gate("--imagenet=colours", "--models=all", "-v")

    result.assert_outcomes(passed=3)
    decoded = [line for line in result.outlines if line.endswith(": decoding: 0 of 16 images")]
    assert ["nearest-V1-fp32", "other-V1-fp32"] == [line.partition(":")[0] for line in decoded]


def test_pixels_that_are_not_torchvisions_are_an_error(
    gate: Gate, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A torchvision that prepares images in another way than the harness is found at the first image."""
    transform = torchvision.transforms.Compose(
        [torchvision.transforms.Resize((8, 8)), torchvision.transforms.ToTensor()]
    )
    monkeypatch.setattr("harness.run.load", lambda *given: replace(load(*given), transform=transform))
    assert project

    result = gate("--imagenet=colours")

    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["the pixels of 00.JPEG are not those of torchvision's own preset (8/8 bilinear): *"])
