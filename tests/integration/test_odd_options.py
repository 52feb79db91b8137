"""Random command lines of the gate: never a traceback, and success only where nothing is wrong."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from harness.cli.main import main
from tests.integration.conftest import Gate

# What each option accepts, and what it must not.
SOUND = {
    "--models": ["all", "near*", "nearest", "nearest-V1"],
    "--precision": ["fp32", "fp32,fp32"],
    "--memory-format": ["channels_last", "contiguous"],
    "--batch-size": ["1", "7", "100000"],
    "--workers": ["1"],
    "--device": ["cpu", "auto"],
    "--decoder": ["pillow"],
    "--results": ["run", "deep/er/run", "rün"],
    "--store": ["other-store"],
}
ODD = {
    "--models": ["", "none*", "resnet18", "[", "\x1b[2J", "nearest,missing"],
    "--precision": ["fp8", "", ",", "FP32 fp64", "fp32,,fp9"],
    "--memory-format": ["nhwc", "", "None"],
    "--batch-size": ["0", "-1", "1e3", "1_0", "", "٣", "nan", "9" * 30 + "x"],
    "--limit": ["0", "17", "-5", "1.5", "all", "9" * 30],
    "--workers": ["0", "x", "-2"],
    "--device": ["cpu:7", "cuda", "cuda:99", "", "tpu", "\udcff", "cuda:x"],
    "--decoder": ["opencv", ""],
    "--results": ["", "colors", "expected_accuracy.yaml", "/", "/proc/run", "a" * 300, "~nobody/../../../proc/run"],
    "--store": ["", "expected_accuracy.yaml", "/proc/store"],
    "--expected": ["missing.yaml", "colors", "/dev/null", "conftest.py", ""],
    "--baseline": ["missing", "colors", "expected_accuracy.yaml", "/dev/null"],
    "--noise-floor": ["missing.json", "colors", "/dev/null"],
    "--imagenet": ["missing", "expected_accuracy.yaml", "store", "/dev/zero", "", "a" * 300, "~nobody-there/x"],
    "--rank-timeout": ["0", "soon"],
    "--reference": ["cuda:99", "cpu:fp16", ""],
}


def _command(chance: random.Random) -> tuple[list[str], bool]:
    """Return options, each at most once, and whether one of their values is odd."""
    names = chance.sample(sorted({*SOUND, *ODD}), chance.randint(1, 4))
    odd = [name for name in names if name not in SOUND or (name in ODD and chance.random() < 0.4)]
    return [f"{name}={chance.choice(ODD[name] if name in odd else SOUND[name])}" for name in names], bool(odd)


@pytest.mark.parametrize("seeds", [range(6), pytest.param(range(6, 300), marks=pytest.mark.fuzz)], ids=["few", "many"])
def test_random_options_end_in_a_sentence(seeds: range, gate: Gate, project: Path) -> None:
    """A usage error is a few lines; the images and the file of expected accuracies are as they were."""
    before = {path: path.read_bytes() for path in project.rglob("*") if path.is_file()}
    for seed in seeds:
        options, odd = _command(random.Random(seed))

        result = gate(*([] if any("--imagenet" in option for option in options) else ["--imagenet=colors"]), *options)

        text = f"{seed}: {options}: {result.ret}\n{result.stdout.str()}\n{result.stderr.str()}"
        assert (result.ret == 0) == (not odd), text
        assert result.ret in (0, 1, 4), text
        assert "Traceback" not in text, text
        assert "\x1b[2J" not in result.stderr.str(), text
    assert before == {path: path.read_bytes() for path in before}


WORDS = [
    "compare", "report", "merge", "noise", "store", "build", "list", "verify", "prune", "dataset", "expected", "check",
    "missing", "folder", "file", "/dev/null", "", "-o", "--markdown", "--results", "--limit", "0", "1_0", "nan", "-1",
    "--store", "--max-size", "1e9GB", "--older-than", "5x", "--fail-on", "speed,accuracy", "--noise", "--max-slowdown",
    "1e400", "--models", "*", "--expected", "--decoder", "pillow", "--device", "cpu:7", "--against", "--images",
    "--help",
]  # fmt: skip


@pytest.mark.parametrize("seeds", [range(150), pytest.param(range(5_000), marks=pytest.mark.fuzz)], ids=["few", "many"])
def test_random_commands_end_in_a_sentence(
    seeds: range, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of imagenet-gate, with words that it knows in any order."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("IMAGENET_STORE", str(tmp_path / "store"))
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("file")
    for seed in seeds:
        chance = random.Random(seed)
        arguments = chance.choices(WORDS[:12], k=chance.randint(0, 2)) + chance.choices(WORDS, k=chance.randint(0, 4))
        try:
            status = main(arguments)
        except SystemExit as exit_:  # argparse's
            status = int(exit_.code or 0)

        errors = capsys.readouterr().err
        assert status in (0, 1, 2), (seed, arguments, errors)
        assert "Traceback" not in errors, (seed, arguments, errors)
        if status == 2:
            assert "error: " in errors.splitlines()[-1], (seed, arguments, errors)
    assert "file" == (tmp_path / "file").read_text()
