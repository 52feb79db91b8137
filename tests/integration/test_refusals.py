"""What a user sees who asked for something that is not there: one sentence, and an exit status that is not 0."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.colours import EXPECTED, WNIDS
from tests.integration.conftest import Gate


def usage_error(result: pytest.RunResult) -> str:
    """Return the one line of a usage error, after checking that it is one."""
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert not result.outlines
    [line] = [line for line in result.errlines if line]
    assert line.startswith("ERROR: ")
    return line.removeprefix("ERROR: ")


def test_no_split(gate: Gate) -> None:
    """Without a split the gate is a usage error that says what to do, never a green skip."""
    assert usage_error(gate()) == (
        "-m imagenet needs an image set: give --imagenet DIR (or set IMAGENET_DIR) for ImageNet's validation set in "
        "class folders, or --imagenet embedded for images that need no download"
    )


def test_an_empty_variable(gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable that is set to nothing is no split, and not the working folder."""
    monkeypatch.setenv("IMAGENET_DIR", "")

    assert usage_error(gate()).startswith("-m imagenet needs an image set")
    assert usage_error(gate("--imagenet=")).startswith("-m imagenet needs an image set")


def test_a_wrong_expression(pytester: pytest.Pytester, project: Path) -> None:
    """A broken -m is a usage error, as without the gate."""
    assert project

    message = usage_error(pytester.runpytest_inprocess("-m", "imagenet and", "--imagenet=colours"))

    assert message.startswith("wrong expression after -m: 'imagenet and': ")


def test_no_expression(pytester: pytest.Pytester, project: Path) -> None:
    """Without -m the gate's tests are not evaluated by chance, and say how they are."""
    assert project

    result = pytester.runpytest_inprocess("-m", "")

    result.assert_outcomes(errors=1)
    assert result.outlines.count("select the gate by -m imagenet; without it no image set is opened") == 1


def test_a_split_but_no_gate(pytester: pytest.Pytester, project: Path) -> None:
    """A split that would not be evaluated is not passed over."""
    assert project

    result = pytester.runpytest_inprocess("--imagenet=colours", "-m", "not imagenet")

    expected = "--imagenet was given, but no test is selected that heeds it: add -m imagenet or -m throughput"
    assert usage_error(result) == expected


def test_a_wrong_path(gate: Gate, project: Path) -> None:
    """The sentence names the path, also in full."""
    expected = f"--imagenet 'nowhere': expected a folder or archive of images, found nothing at {project / 'nowhere'}"
    assert usage_error(gate("--imagenet=nowhere")) == expected


def test_an_empty_folder(gate: Gate, project: Path) -> None:
    """The sentence says what was expected in the folder."""
    (project / "empty").mkdir()

    message = usage_error(gate("--imagenet=empty"))

    assert message.startswith(f"no images in {project / 'empty'}: found an empty folder; looked for (1) ")
    assert "class folders named by wnid, such as n01440764/, in it or in val/, holding .JPEG files" in message


def test_a_file_that_is_no_image(gate: Gate, project: Path) -> None:
    """One bad file among good ones: the test errors and names it; nothing is scored without it."""
    bad = project / "colours" / WNIDS[0] / "00.JPEG"
    bad.write_text("no image")

    result = gate("--imagenet=colours")

    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.assert_outcomes(errors=1)
    expected = (
        f"1 of 16 images cannot be decoded: colours/{WNIDS[0]}/00.JPEG (not an image). "
        "Replace them; nothing is scored without them."
    )
    assert result.outlines.count(expected) == 1


def test_a_missing_weight_file(gate: Gate, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No cached file and no network: an error, not a skip, with file, folder and URL."""
    monkeypatch.setenv("TORCH_HOME", str(project / "torch"))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    with (project / "expected_accuracy.yaml").open("a") as file:
        file.write("  - {model: alexnet, weights: IMAGENET1K_V1, colours: *values}\n")

    result = gate("--imagenet=colours", "--models=alexnet")

    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(
        [
            "alexnet-IMAGENET1K_V1: the weights file alexnet-owt-7be5be79.pth is not in "
            f"{project}/torch/hub/checkpoints and could not be downloaded from "
            "https://download.pytorch.org/models/alexnet-owt-7be5be79.pth (*); fetch it elsewhere and put it into that "
            "folder",
        ]
    )


def test_an_unknown_model(gate: Gate) -> None:
    """A name that matches nothing comes with the nearest that would."""
    expected = "--models: 'neerest' matches no model in the file of expected values (nearest: 'nearest')"
    assert usage_error(gate("--imagenet=colours", "--models=neerest")) == expected


def test_a_model_that_torchvision_does_not_know(gate: Gate, project: Path) -> None:
    """A name in the file that torchvision does not know is refused before anything is evaluated."""
    with (project / "expected_accuracy.yaml").open("a") as file:
        file.write("  - {model: resnet19, weights: IMAGENET1K_V1}\n")

    message = usage_error(gate("--imagenet=colours", "--models=all"))

    where = f"{project / 'expected_accuracy.yaml'}: models[1].model: "
    assert message.startswith(f"{where}model 'resnet19' is not one of torchvision ")
    assert message.endswith("a model from elsewhere needs a builder")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_cuda_without_cuda(gate: Gate) -> None:
    """A GPU that is not there is not replaced by the CPU."""
    message = usage_error(gate("--imagenet=colours", "--device=cuda"))

    assert message.startswith("--device cuda: no CUDA device can be used: torch ")
    assert message.endswith("run nvidia-smi to see what is there, or use --device cpu")


def test_a_bad_file_of_expected_values(gate: Gate, project: Path) -> None:
    """The sentence names file, key and reason."""
    (project / "mine.yaml").write_text(EXPECTED.replace("acc@1: 75.0", "acc@1: 0.75"))

    assert usage_error(gate("--imagenet=colours", "--expected=mine.yaml")) == (
        "mine.yaml: models[0] (nearest-V1): colours.acc@1: 0.75 looks like a fraction; expected percent, such as 75.00"
    )


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("--batch-size=0", "argument --batch-size: expected a whole number above 0, found '0'"),
        ("--workers=-1", "argument --workers: expected a whole number above 0, found '-1'"),
        ("--limit=many", "argument --limit: expected a whole number above 0, found 'many'"),
        ("--store=", "argument --store: expected a folder, found nothing"),
    ],
)
def test_a_value_that_is_none(gate: Gate, argument: str, message: str) -> None:
    """Counts are whole numbers above 0, and a folder has a name."""
    result = gate("--imagenet=colours", argument)

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"*{message}"])


def test_a_limit_beyond_the_split(gate: Gate) -> None:
    """More images than there are is a mistake, not all of them."""
    expected = "--limit must be between 1 and the 16 images of colours, not 17"
    assert usage_error(gate("--imagenet=colours", "--limit=17")) == expected


def test_an_unknown_precision(gate: Gate) -> None:
    """A precision that is not in the table is refused by name."""
    expected = "--precision: 'fp31' is not one of fp32, tf32, bf16, fp16"
    assert usage_error(gate("--imagenet=colours", "--precision=fp31")) == expected
