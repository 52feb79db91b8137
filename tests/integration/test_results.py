"""``--results DIR`` and ``imagenet-gate compare``: the run folder, and the comparison of two."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.cli.main import main
from harness.decoding.upkeep import list_stores
from harness.formats import imagenet
from harness.records import run_folder
from harness.records.results import Missing
from harness.records.run_folder import read_run
from harness.report.crops import crops_of
from tests.colors import TOP1, TOP5
from tests.integration.conftest import Gate, add_to_conftest, entry, expect, measured, table_line

CASE = "nearest-V1-fp32"
RUN = ("--imagenet=colors", "--results=run")
AGAIN = entry("again").replace(", colors: *values", "")  # nothing is published for it
NAN = entry("nan", "tests.colors:always_nan")


def _json(folder: Path) -> dict[str, Any]:
    values: dict[str, Any] = json.loads((folder / "record.json").read_text())
    return values


def test_the_record_holds_what_was_measured(gate: Gate, project: Path) -> None:
    """Counts, expected counts and checks, versions and dataset, the seconds of each phase, and the command."""
    result = gate(*RUN)

    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines([f"results: {project}/run"])
    values = _json(project / "run")
    [case] = values["cases"]
    assert (values["schema_version"], values["environment"]["device"]) == ("3.2", "cpu")
    assert {"name": "colors", "images": 16, "classes": 8}.items() <= values["dataset"].items()
    assert list(imagenet.wnids()) == values["dataset"]["class_names"]
    assert {"id": CASE, "outcome": "passed", "dataset": "colors"}.items() <= case.items()
    assert {"images": 16, "top1": TOP1, "top5": TOP5} == case["counts"] == case["expected"]["counts"]
    assert case["expected"]["origin"] == "published"
    assert [(check["name"], check["outcome"]) for check in case["checks"]] == [("top-1", "passed"), ("top-5", "passed")]
    [command] = values["commands"]
    assert "python -m pytest " in command  # after variables such as OMP_NUM_THREADS, if they are set
    assert command.endswith("--imagenet=colors --results=run")
    phases = case["seconds"]
    assert all(seconds > 0 for seconds in phases.values())
    assert sum(phases.values()) - phases["total"] <= phases["total"]
    run = read_run(project / "run")
    assert [f"{number:02}.JPEG" for number in range(16)] == list(crops_of(run, run.record.cases[0]))
    gate(*RUN).stdout.fnmatch_lines([f"results: {project}/run"])


@pytest.mark.slow
def test_workers_of_xdist_write_one_record(gate: Gate, project: Path) -> None:
    """The same results and predictions as without ``-n``, but for the time they took, in one folder.

    Two workers need the same pixels at once: there is one store. Each compares its cases with the single run as a
    baseline, which also judges the one that has no published values, and with float64.
    """
    expect(project, {}, AGAIN, NAN)
    options = ("--imagenet=colors", "--models=all", "--reference=cpu:fp64")
    single = gate(*options, "--results=one", "--no-store")

    both = gate(*options, "--results=two", "--baseline=one", "-n", "2", "-p", "xdist")

    both.assert_outcomes(passed=2, errors=1)
    both.stdout.re_match_lines(
        [
            r"dataset: colors",
            r"nearest-V1-fp32: .*, allowed 0.0001; largest drift from float64 on cpu, ",
            r"1-2 +again .* 75.000 .* - .* passed$",
            r"1-2 +nearest .* passed$",
        ]
    )
    assert table_line(single) == table_line(both)
    assert [16] == [store.decoded for store in list_stores(project / "store")]
    one, two = read_run(project / "one"), read_run(project / "two")
    assert one.record.missing_cases == two.record.missing_cases
    assert ["error"] == [missing.outcome for missing in two.record.missing_cases]
    before, after = (sorted(run.record.cases, key=lambda case: case.id) for run in (one, two))
    assert [["failed", "passed"], ["passed", "passed"]] == [
        [case.outcome for case in cases] for cases in (before, after)
    ]
    assert (1, 2) == (one.record.environment.processes, two.record.environment.processes)
    for here, there in zip(before, after, strict=True):
        assert measured(here) == measured(there)
        assert getattr(there.baseline, "changed", None) == 0
        np.testing.assert_array_equal(one.predictions(here).logits, two.predictions(there).logits)


def test_a_stopped_run_is_written(gate: Gate, project: Path) -> None:
    """With -x the record lists the cases that were not run; a team's own test with the mark is none."""
    (project / "test_own.py").write_text("import pytest\n@pytest.mark.imagenet\ndef test_own():\n    pass\n")
    expect(project, {"acc@1: 75.0": "acc@1: 81.25"}, AGAIN, NAN)

    result = gate(*RUN, "--models=all", "-x")

    result.assert_outcomes(failed=1)
    result.stdout.re_match_lines([r" +nearest .* FAILED$", r" +again-V1-fp32: not run$"])
    record = read_run(project / "run").record
    assert ["failed"] == [case.outcome for case in record.cases]
    assert (Missing("again-V1-fp32", "not run"), Missing("nan-V1-fp32", "not run")) == record.missing_cases


@pytest.mark.parametrize(
    ("unwritable", "sentence"),
    [
        ("record.json", "the run cannot be written to {}: No space left on device; what was measured is in {}[.].+"),
        ("*.npz", "the run cannot be written to {}[.].+: No space left on device"),
    ],
)
def test_a_run_that_cannot_be_written_fails(
    unwritable: str, sentence: str, gate: Gate, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last line says so, and where what was measured is, if anything could be kept; the earlier run stays."""
    gate(*RUN)
    before = (project / "run" / "record.json").read_bytes()
    write = run_folder.write_whole

    def write_some(path: Path, data: bytes) -> None:
        if path.match(unwritable):
            raise OSError(28, "No space left on device")
        write(path, data)

    monkeypatch.setattr(run_folder, "write_whole", write_some)

    result = gate(*RUN)

    assert pytest.ExitCode.TESTS_FAILED == result.ret
    [line] = [line for line in result.outlines if line.startswith("NOT WRITTEN: ")]
    assert re.fullmatch(f"NOT WRITTEN: {sentence.format(*[project / 'run'] * 2)}", line), line
    kept = [folder for folder in project.glob("run.*") if any(folder.glob("predictions/*.npz"))]
    assert ((unwritable == "record.json"), len(kept)) == (bool(kept), len(list(project.glob("run.*"))))
    assert before == (project / "run" / "record.json").read_bytes()


def test_a_run_that_evaluated_nothing_replaces_nothing(gate: Gate, project: Path) -> None:
    """For example if -k deselects all, or a job is cancelled at once."""
    gate(*RUN)
    before = (project / "run" / "record.json").read_bytes()

    deselected = gate(*RUN, "-k", "nothing_of_that_name")
    add_to_conftest(project, "\nimport pytest\ndef pytest_runtest_setup():\n    pytest.exit('cancelled')\n")
    cancelled = gate(*RUN)

    assert pytest.ExitCode.NO_TESTS_COLLECTED == deselected.ret
    cancelled.stdout.fnmatch_lines([f"NOT WRITTEN: nothing was measured for {project}/run"])
    assert before == (project / "run" / "record.json").read_bytes()
    assert [] == list(project.glob("run.*"))


def test_a_changed_prediction_is_named(gate: Gate, project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One of 16 predictions is changed; the comparison names the image and its classes, before and after."""
    gate("--imagenet=colors", "--results=old")
    gate("--imagenet=colors", "--results=new")

    def compare(*options: str) -> tuple[int, str]:
        capsys.readouterr()
        status = main(["compare", "old", "new", *options])
        return status, "".join(capsys.readouterr())

    same, equal = compare()
    file = project / "new" / "predictions" / f"{CASE}.npz"
    with np.load(file) as arrays:
        changes = dict(arrays)
    changes["top"][3] = changes["top"][3][[1, 0, 2, 3, 4, 5]]
    np.savez(file, **changes)
    record = {**_json(project / "new"), "schema_version": "3.0", "files": {}}
    (project / "new" / "record.json").write_text(json.dumps(record))
    mismatch, damaged = compare()
    record["cases"][0]["counts"]["top1"] -= 1
    (project / "new" / "record.json").write_text(json.dumps(record))
    changed, report = compare("--markdown", "report.md")

    assert (0, 1, 1) == (same, mismatch, changed)
    assert re.search(r"^nearest .* equal  passed$", equal, re.MULTILINE)
    assert ": 12 (top-1) and 14 (top-5) correct of 16 were" in " ".join(damaged.split())
    [line] = [line for line in report.splitlines() if "03.JPEG" in line]
    assert line.startswith("    03.JPEG: colobus -> ")
    assert "1 now wrong, 0 now correct" in report
    assert "03.JPEG" in (project / "report.md").read_text()
