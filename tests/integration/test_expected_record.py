"""``imagenet-gate expected record``: a run of a team's own models becomes what they are expected to score."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.cli.main import main
from harness.records.accuracy_file import read_expected
from harness.records.evidence import Counts
from tests.colors import EXPECTED, TOP1, TOP5
from tests.integration.conftest import Gate, expect

UNKNOWN = {
    "    colors: &values {acc@1: 75.0, acc@5: 87.5}\n": "",
    "  colors: {images: 16, source: made by hand}": "  other: {images: 9, source: made by hand}",
}


def test_a_run_becomes_what_is_expected(gate: Gate, project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The same run then passes; the file keeps what else it has; a run that gives no values for it is an error."""
    expect(project, UNKNOWN)
    unknown = (project / "expected_accuracy.yaml").read_text()
    assert gate("--imagenet=colors", "--precision=bf16,fp32", "--results=run").ret == pytest.ExitCode.TESTS_FAILED

    assert main(["expected", "record", "run", "--output", "own.yaml"]) == 0

    [entry] = read_expected(project / "own.yaml")
    expected = entry.expected_on("colors")
    assert expected is not None
    assert (Counts(16, TOP1, TOP5), "recorded") == (expected.counts, expected.origin)
    text = (project / "own.yaml").read_text()
    assert "other: {images: 9, source: made by hand}" in text
    assert gate("--imagenet=colors", "--expected=own.yaml", "--limit=12", "--results=subset").ret == 0
    assert gate("--imagenet=colors", "--expected=own.yaml").ret == 0
    assert gate("--imagenet=colors", "--expected=own.yaml", "--precision=bf16", "--results=bf16").ret == 0
    capsys.readouterr()
    assert main(["expected", "record", "run", "--expected", "own.yaml"]) == 0
    assert text == capsys.readouterr().out

    # The file has one value for all precisions.
    in_bf16 = "expected each model evaluated in fp32, found nearest-V1 in bf16 alone; run again with --precision fp32"
    for run, content, error in (
        ("bf16", text, f"bf16: {in_bf16}"),
        ("subset", text, "subset: expected a run of all 16 images of colors, found 12; run again without --limit"),
        ("run", EXPECTED, "own.yaml: expected values of colors that were recorded, found published"),
        (
            "run",
            unknown.replace("model: nearest", "model: farthest"),
            "own.yaml: expected the models of run, found none called nearest-V1; give the --expected FILE",
        ),
    ):
        (project / "own.yaml").write_text(content)
        assert main(["expected", "record", run, "--expected", "own.yaml"]) == 2
        assert f"error: {error}" in capsys.readouterr().err
