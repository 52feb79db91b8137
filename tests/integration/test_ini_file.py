"""Defaults in pytest's ini file: which of them count, and the header that names them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.integration.conftest import Gate

# The project need not be installed where the tests run.
EARLY = ("-p", "no:imagenet-gate", "-p", "harness.early")
INI = """
[tool.pytest.ini_options]
addopts = "--strict-config"
imagenet_dataset = "colors"
imagenet_models = "near*"
imagenet_precision = "fp32"
imagenet_baseline = "base"
imagenet_store = "kept"
"""


@pytest.fixture
def configured(project: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project whose pyproject.toml says what to evaluate, with a baseline."""
    monkeypatch.delenv("IMAGENET_STORE")
    (project / "pyproject.toml").write_text(INI)
    return project


def defaults(result: pytest.RunResult) -> list[str]:
    """Return what the header says of defaults, option by option."""
    return [word for line in result.outlines if line.startswith("defaults: ") for word in line.split()[1:]]


def test_defaults_of_the_ini_file(configured: Path, gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    """Paths are relative to the file, wherever pytest is started; each default is in the header."""
    (configured / "sub").mkdir()
    monkeypatch.chdir(configured / "sub")

    recorded, compared = gate(*EARLY, "--baseline-update", "../test_accuracy.py"), gate(*EARLY, "../test_accuracy.py")

    dataset, base, kept = (configured / name for name in ("colors", "base", "kept"))
    lists = ["--models=near*", "--precision=fp32"]
    expected = [f"--imagenet={dataset}", *lists, f"--baseline={base}", f"--store={kept}"]
    assert [*expected, f"({configured / 'pyproject.toml'})"] == defaults(recorded) == defaults(compared)
    assert (0, 0) == (recorded.ret, compared.ret)
    assert (base / "record.json").is_file()
    assert list(kept.glob("*/pixels"))


def test_what_precedes_the_ini_file(configured: Path, gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command line, PYTEST_ADDOPTS and the project's own variables; the header names only what counts."""
    (configured / "moved").mkdir()
    moved = (configured / "colors").rename(configured / "moved" / "colors")
    for name, value in (("DIR", moved), ("STORE", configured / "other")):
        monkeypatch.setenv(f"IMAGENET_{name}", str(value))
    monkeypatch.setenv("PYTEST_ADDOPTS", "--models=nearest")

    result = gate(*EARLY, "--precision=bf16", "-o", "imagenet_baseline=")

    result.assert_outcomes(passed=1)
    assert [] == defaults(result)
    assert [True, False] == [(configured / store).exists() for store in ("other", "kept")]


@pytest.mark.slow
@pytest.mark.usefixtures("configured")
def test_workers_have_the_options_of_the_controller(gate: Gate) -> None:
    """Not the defaults that the command line has replaced."""
    result = gate(*EARLY, "--precision=bf16,fp32", "-o", "imagenet_baseline=", "-n", "1")

    result.assert_outcomes(passed=2)
    assert "--precision=fp32" not in defaults(result)
    assert "--models=near*" in defaults(result)


def test_a_run_without_the_gate_knows_the_keys(configured: Path, pytester: pytest.Pytester) -> None:
    """--strict-config finds nothing wrong, and no option is declared for it."""
    for name in ("conftest.py", "test_accuracy.py"):
        (configured / name).unlink()
    pytester.makepyfile("def test_other(pytestconfig):\n    assert not hasattr(pytestconfig.option, 'imagenet')")

    result = pytester.runpytest_inprocess(*EARLY)

    result.assert_outcomes(passed=1)
    assert not defaults(result)
