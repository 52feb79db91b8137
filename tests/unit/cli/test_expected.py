"""Tests of harness.cli.expected: exit status and output."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.cli.main import main


@pytest.fixture
def own_file(pytestconfig: pytest.Config) -> Path:
    """The project's own file of expected accuracies."""
    return pytestconfig.rootpath / "expected_accuracy.yaml"


def test_expected_check_finds_no_disagreement(own_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The project's file has the values of the installed torchvision; exit status 0."""
    status = main(["expected", "check", str(own_file)])

    import torchvision

    expected = f"{own_file}: no disagreement with the 114 weights of torchvision {torchvision.__version__}\n"
    assert (expected, "") == capsys.readouterr()
    assert status == 0


def test_expected_check_shows_every_disagreement(
    own_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A changed value, a weight left out and one made up are shown, each on a line; exit status 1."""
    tampered = tmp_path / "tampered.yaml"
    text = own_file.read_text()
    changes = {
        "acc@1: 56.522": "acc@1: 56.524",
        "acc@5: 91.42": "acc@5: 91.418",
        "model: resnet101, weights: IMAGENET1K_V1": "model: resnet102, weights: IMAGENET1K_V1",
    }
    for old, new in changes.items():
        assert text.count(old) == 1
        text = text.replace(old, new)
    tampered.write_text(text)

    status = main(["expected", "check", str(tampered)])

    import torchvision

    expected = (
        "resnet102-IMAGENET1K_V1: in the file, not in torchvision\n"
        "alexnet-IMAGENET1K_V1: top1 is 56.524 in the file, 56.522 in torchvision\n"
        "resnet101-IMAGENET1K_V1: (77.374, 93.546) in torchvision, no values for imagenet-1k in the file\n"
        "resnet34-IMAGENET1K_V1: top5 is 91.418 in the file, 91.42 in torchvision\n"
        f"{tampered}: 4 disagreements with the 114 weights of torchvision {torchvision.__version__}\n"
    )
    assert (expected, "") == capsys.readouterr()
    assert status == 1


def test_expected_check_of_a_bad_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A file that cannot be read as one of expected values is an error in one line; exit status 2."""
    bad = tmp_path / "bad.yaml"
    bad.write_text("schema_version: 1\ntolerance: 0.05\nsplits: {}\nmodels: []\n")

    status = main(["expected", "check", str(bad)])

    output, errors = capsys.readouterr()
    assert output == ""
    assert errors.startswith(f"error: {bad}: schema_version must be 2, found '1'")
    assert errors.count("\n") == 1
    assert status == 2
