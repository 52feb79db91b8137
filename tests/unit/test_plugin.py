"""Tests of harness.plugin and harness.options: what -m selects, the options' values, and what reaches JUnit."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from harness.options import Options, Process, is_selected, read_options, require_selected

BOTH = ("imagenet", "throughput")
NEITHER = ["", "slow", "not slow", "not imagenet"]


@pytest.mark.parametrize("expression", [*NEITHER, *BOTH, "imagenet or throughput", "imagenet and not slow"])
def test_which_mark_is_selected(expression: str, pytester: pytest.Pytester) -> None:
    """Not where the expression only lets such tests through with all others."""
    config = pytester.parseconfig("-m", expression)

    selected = [mark for mark in BOTH if is_selected(config, mark)]
    assert [mark for mark in BOTH if mark in expression and expression not in NEITHER] == selected


@pytest.mark.parametrize("given", [["--color", "no"], ["--color=no"]])
def test_an_option_without_an_effect_is_a_usage_error(given: list[str], pytester: pytest.Pytester) -> None:
    """Whether its value is joined to it or not; an option that was not given is none."""
    config = pytester.parseconfig("-m", "throughput", *given)

    require_selected(config, {"--color": BOTH, "--other": ("imagenet",)})
    with pytest.raises(pytest.UsageError, match=r"^--color has no effect without -m imagenet$"):
        require_selected(config, {"--color": ("imagenet",)})
    with pytest.raises(pytest.UsageError, match=r"^--color has no effect without -m imagenet or -m throughput$"):
        require_selected(pytester.parseconfig(*given), {"--color": BOTH})


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch, pytester: pytest.Pytester) -> Callable[..., Options]:
    """Return a function that reads a command line."""
    for name in ("IMAGENET_DIR", "IMAGENET_STORE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(pytester.path / "cache"))
    return lambda *arguments: read_options(pytester.parseconfig("-p", "harness.plugin", *arguments), Process())


def test_defaults(read: Callable[..., Options], pytester: pytest.Pytester) -> None:
    """Those of the Python API, but for the store and where the expected values are looked for."""
    own = pytester.path / "expected_accuracy.yaml"

    projects = read()
    own.touch()
    options = read()

    assert options.store is not None
    assert Options(expected=own, store=options.store) == options
    assert (Path(__file__).parents[2] / "expected_accuracy.yaml").read_bytes() == projects.expected.read_bytes()


def test_values_are_read_once(read: Callable[..., Options], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Lists are separated by commas and name each setting once; variables are defaults; ~ is the home."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("IMAGENET_DIR", "/data")
    given = ["--models= ,a, b,,a", "--precision=bf16,fp32,bf16", "--memory-format=contiguous", "--compile"]

    options = read(*given, "--store=~/kept", "--results=~/run")

    assert ("/data", ("a", "b")) == (options.imagenet, options.models)
    settings = ["bf16-contiguous", "bf16-contiguous-compiled", "fp32-contiguous", "fp32-contiguous-compiled"]
    assert settings == list(map(str, options.settings))
    assert (tmp_path / "kept", tmp_path / "run") == (options.store, options.results)
    assert read("--store=kept", "--no-store").store is None


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (Options(), 8),
        (Options(process=Process(local_world_size=3)), 2),
        (Options(process=Process(world_size=16, local_world_size=16)), 1),
        (Options(process=Process(world_size=2, local_world_size=2), store=Path("kept")), 8),
        (Options(process=Process(local_world_size=2), store=Path("kept")), 4),
        (Options(process=Process(local_world_size=3), workers=5), 5),
    ],
)
def test_decoding_processes(options: Options, expected: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """They share the cores; ranks with a store take turns, so that each may use all."""
    monkeypatch.setattr("harness.options.available_cores", lambda: 8)

    assert expected == options.decoding_processes
