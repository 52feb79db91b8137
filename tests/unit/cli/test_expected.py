"""Tests of ``imagenet-gate expected check`` and ``list-models``."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.cli.conftest import CommandLine


@pytest.fixture
def own_file(pytestconfig: pytest.Config) -> Path:
    """The project's own file of expected accuracies."""
    return pytestconfig.rootpath / "expected_accuracy.yaml"


def test_check_finds_no_disagreement(own_file: Path, cli: CommandLine) -> None:
    """The project's file has the values of the installed torchvision; exit status 0."""
    found = cli("expected", "check", own_file)

    import torchvision

    sentence = f"{own_file}: no disagreement with the 114 weights of torchvision {torchvision.__version__}\n"
    assert (0, sentence, "") == found


def test_check_shows_every_disagreement(own_file: Path, tmp_path: Path, cli: CommandLine) -> None:
    """A changed value, a weight left out and one made up are shown, each on a line; exit status 1."""
    text = own_file.read_text()
    changes = {
        "acc@1: 56.522": "acc@1: 56.524",
        "acc@5: 91.42": "acc@5: 91.418",
        "model: resnet101, weights: IMAGENET1K_V1": "model: resnet102, weights: IMAGENET1K_V1",
    }
    for old, new in changes.items():
        assert text.count(old) == 1
        text = text.replace(old, new)
    (tmp_path / "changed.yaml").write_text(text)

    status, out, err = cli("expected", "check", "changed.yaml")

    import torchvision

    assert (1, "") == (status, err)
    assert [
        "resnet102-IMAGENET1K_V1: in the file, not in torchvision",
        "alexnet-IMAGENET1K_V1: top1 is 56.524 in the file, 56.522 in torchvision",
        "resnet101-IMAGENET1K_V1: (77.374, 93.546) in torchvision, no values for imagenet-1k in the file",
        "resnet34-IMAGENET1K_V1: top5 is 91.418 in the file, 91.42 in torchvision",
        f"changed.yaml: 4 disagreements with the 114 weights of torchvision {torchvision.__version__}",
    ] == out.splitlines()


def test_models_are_listed(tmp_path: Path, cli: CommandLine) -> None:
    """Each with its expected values, in a table for each dataset; the project's own within 80 columns."""
    (tmp_path / "own.yaml").write_text(
        "schema_version: 2\ntolerance: 0.05\n"
        "datasets: {imagenet-1k: {images: 50000, source: s}, own: {images: 8, source: t}}\n"
        "models:\n- {model: alexnet, weights: V1, imagenet-1k: {acc@1: 56.522, acc@5: 79.066},"
        " own: {acc@1: 50, acc@5: 75}}\n- {model: vgg16, weights: V2}\n"
    )

    found, all_models = cli("list-models", "--expected=own.yaml"), cli("list-models")

    assert [
        ["imagenet-1k", "top-1", "top-5"],
        ["alexnet-V1", "56.522", "79.066"],
        [],
        ["own", "top-1", "top-5"],
        ["alexnet-V1", "50.000", "75.000"],
        [],
        ["not", "judged", "top-1", "top-5"],
        ["vgg16-V2", "-", "-"],
    ] == [line.split() for line in found.lines]
    assert (0, 0) == (found.status, all_models.status)
    assert max(map(len, all_models.lines)) <= 80
