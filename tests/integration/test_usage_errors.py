"""Mistakes of the user: one sentence, and an exit status that is not 0."""

from __future__ import annotations

import shlex
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

from tests.colors import EXPECTED, WNIDS
from tests.integration.conftest import Gate, expect

RESNET19 = "  - {model: resnet19, weights: IMAGENET1K_V1}\n"
ALEXNET = "  - {model: alexnet, weights: IMAGENET1K_V1, colors: *values}\n"


def usage_error(result: pytest.RunResult) -> str:
    """Return the one line of a usage error, after checking that it is one."""
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert not result.outlines
    [line] = [line for line in result.errlines if line]
    assert line.startswith("ERROR: ")
    return line.removeprefix("ERROR: ")


@pytest.mark.parametrize("options", [[], ["--imagenet="]], ids=["none", "an empty one"])
@pytest.mark.parametrize("variable", [None, ""], ids=["no variable", "an empty variable"])
def test_no_dataset(variable: str | None, options: list[str], gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a dataset the gate is a usage error that says what to do, not skipped, nor is it the working folder's."""
    if variable is not None:
        monkeypatch.setenv("IMAGENET_DIR", variable)

    assert usage_error(gate(*options)) == (
        "-m imagenet needs a dataset: give --imagenet DIR (or set IMAGENET_DIR) for ImageNet's validation set, or "
        "--imagenet synthetic for images that need no download"
    )


MESSAGES = {
    "--imagenet=nowhere": "--imagenet 'nowhere': expected a folder or archive of images, found nothing*",
    "--imagenet=empty": "no images in */empty: found an empty folder; looked for (1) *class folders named by wnid, "
    "such as n01440764/, in it or in val/, holding .JPEG files*",
    "--results=colors": "--results colors: expected a new or empty folder, or a run; *",
    "--store=there --no-store": "--store and --no-store exclude each other: leave out one of them",
    "--device=cuda": "--device cuda: no CUDA device can be used: torch *run nvidia-smi to see what is there, or use "
    "--device cpu",
    "--models=neerest": "--models: 'neerest' matches no model in the file * (nearest: 'nearest')",
    "--models=,": "--models and --precision select nothing among 1 models",
    "--limit=17": "--limit must be between 1 and the 16 images of colors, not 17",
    "--precision=fp31": "--precision: expected one of fp32, tf32, bf16, fp16, found 'fp31'",
    "--precision=tf32 --device=cpu": "--precision tf32: the device cpu does not support it; *here: fp32, bf16, fp16",
    "--decoder=nvjpeg --device=cpu": "--decoder nvjpeg decodes on a CUDA device, and the device is cpu;*",
    "--expected=mine.yaml": "mine.yaml: models[[]0] (nearest-V1): colors*0.75 looks like a fraction*",
    "--expected=new.yaml --models=all": "new.yaml: models[[]1]: model 'resnet19' is not one of torchvision *; a model "
    "from elsewhere needs a builder",
    "-m 'not imagenet'": "--imagenet has no effect without -m imagenet or -m throughput",
    "-m 'imagenet and'": "wrong expression after -m: 'imagenet and': *",
    "--baseline=base": "--baseline base: expected a run folder * found nothing; record one with --baseline-update",
    "--baseline=colors": "--baseline colors: expected a run folder *, found no record.json; *",
    "--baseline=mine.yaml": "--baseline mine.yaml: expected JSON *",
    "--baseline-update": "--baseline-update needs --baseline DIR: the folder to write",
    "--baseline=b --baseline-update --results=r": "--baseline-update writes the run to --baseline: leave out --results",
    "--baseline=base --results=./base": "--results would replace the baseline: name another folder, or give --base*",
    "--baseline=base --baseline-accept-failed": "--baseline-accept-failed has no effect without --baseline-update",
    "--strict-drift": "--strict-drift needs --baseline DIR: drift is measured from an earlier run",
    "--allow-drift": "--allow-drift needs --baseline DIR: drift is measured from an earlier run",
    "--baseline=base --allow-drift --strict-drift": "--strict-drift and --allow-drift exclude each other: *",
    "--baseline=base --baseline-update --strict-drift": "--strict-drift and --baseline-update exclude each other: *",
    "--baseline=colors --baseline-update": "--baseline colors: expected a new or empty folder, *; found * in it*",
    "--reference-images=8": "--reference-images has no effect without --reference",
    "--reference=cpu:fp16": "--reference: expected auto, cpu, cuda, cuda:N, mps or xpu, found 'cpu:fp16'",
    "-m throughput --device=cpu --cudnn-benchmark": "--cudnn-benchmark needs a CUDA device, found cpu: leave it out",
    "-m throughput -n 2 -p xdist": "-m throughput times one model at a time; * leave out -n",
}


@pytest.mark.parametrize("options", MESSAGES)
def test_options_that_cannot_be_used(options: str, gate: Gate, project: Path) -> None:
    """The sentence names the value, and what is expected instead."""
    (project / "empty").mkdir()
    (project / "mine.yaml").write_text(EXPECTED.replace("acc@1: 75.0", "acc@1: 0.75"))
    (project / "new.yaml").write_text(EXPECTED + RESNET19)

    found = usage_error(gate("--imagenet=colors", *shlex.split(options)))

    assert fnmatchcase(found, MESSAGES[options]), found


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["-n2", "-p", "xdist"], "-n shares models among processes, torchrun shares images: give one of them"),
        (["-m", "imagenet or throughput"], "-m throughput times one model on one device: run it without torchrun"),
    ],
)
def test_torchrun_and(options: list[str], message: str, gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers, of which it would be unclear who shares what, or timings, which ranks would slow down."""
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    for name, value in {"RANK": "0", "WORLD_SIZE": "2", "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "2"}.items():
        monkeypatch.setenv(name, value)

    assert message == usage_error(gate("--imagenet=colors", *options))


def test_a_sentence_on_a_terminal(gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is wrapped."""
    monkeypatch.setattr("_pytest.capture.CaptureIO.isatty", lambda _: True, raising=False)
    monkeypatch.setenv("NO_COLOR", "1")

    lines = gate("--imagenet=nowhere").errlines

    assert lines[0].startswith("ERROR: --imagenet 'nowhere': expected a folder or archive")
    assert ([], "  ") == ([line for line in lines if len(line) > 80 and "/" not in line], lines[1][:2])


def test_each_test_that_is_not_found_is_named(gate: Gate) -> None:
    """As without the gate."""
    lines = gate("--imagenet=colors", "test_accuracy.py::one", "test_accuracy.py::two").errlines

    assert 2 == sum(line.startswith("ERROR: not found: ") for line in lines)


def test_no_expression(gate: Gate) -> None:
    """Without -m the gate's tests are errors that say how to run them."""
    result = gate("-m", "")

    result.assert_outcomes(errors=1)
    assert result.outlines.count("run the gate with -m imagenet; without it no dataset is opened") == 1


def test_a_file_that_is_not_an_image(gate: Gate, project: Path) -> None:
    """One bad file among good ones: the test errors and names it; nothing is scored without it."""
    (project / "colors" / WNIDS[0] / "00.JPEG").write_text("no image")

    result = gate("--imagenet=colors")

    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.assert_outcomes(errors=1)
    expected = (
        f"1 of 16 images cannot be decoded: colors/{WNIDS[0]}/00.JPEG (not a JPEG, PNG or WEBP image). "
        "Replace them; nothing is scored without them."
    )
    assert result.outlines.count(expected) == 1


def test_a_missing_weight_file(gate: Gate, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No cached file and no network: an error, not a skip, with file, folder and URL."""
    monkeypatch.setenv("TORCH_HOME", str(project / "torch"))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    expect(project, {}, ALEXNET)

    result = gate("--imagenet=colors", "--models=alexnet")

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
