"""Tests of harness.plugin and harness.options: what -m selects, the options' values, and what reaches JUnit."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import pytest

from harness.errors import ExpectedError
from harness.options import (
    Options,
    Process,
    case_id,
    folder,
    is_selected,
    listed,
    positive,
    read_options,
    require_selected,
)
from harness.precision import Setting

BOTH = ("imagenet", "throughput")


@pytest.mark.parametrize(
    ("expression", "selected"),
    [
        ("", set()),
        ("imagenet", {"imagenet"}),
        ("throughput", {"throughput"}),
        ("imagenet or throughput", {"imagenet", "throughput"}),
        ("imagenet and not slow", {"imagenet"}),
        ("not slow", set()),
        ("not imagenet", set()),
        ("slow", set()),
    ],
)
def test_a_mark_is_selected_where_the_expression_asks_for_it(
    expression: str, selected: set[str], pytester: pytest.Pytester
) -> None:
    """Not where it only lets such tests through with all others."""
    config = pytester.parseconfig("-m", expression)

    assert {mark for mark in BOTH if is_selected(config, mark)} == selected


@pytest.mark.parametrize("argument", ["--color", "--color=no"])
def test_an_option_without_an_effect_is_a_usage_error(argument: str, pytester: pytest.Pytester) -> None:
    """Whether its value is joined to it or not; an option that was not given is none."""
    arguments = [argument] if "=" in argument else [argument, "no"]
    config = pytester.parseconfig("-m", "throughput", *arguments)

    require_selected(config, {"--color": BOTH, "--other": ("imagenet",)})
    with pytest.raises(pytest.UsageError, match=r"^--color has no effect without -m imagenet$"):
        require_selected(config, {"--color": ("imagenet",)})
    with pytest.raises(pytest.UsageError, match=r"^--color has no effect without -m imagenet or -m throughput$"):
        require_selected(pytester.parseconfig(*arguments), {"--color": BOTH})


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch, pytester: pytest.Pytester) -> Any:
    """Return a function that reads a command line."""
    for name in ("IMAGENET_DIR", "IMAGENET_STORE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(pytester.path / "cache"))
    plugins = ("-p", "harness.plugin")
    return lambda *arguments: read_options(pytester.parseconfig(*plugins, *arguments), Process())


def test_defaults(read: Any, pytester: pytest.Pytester) -> None:
    """Those of the Python API, but for the store and where the expected values are looked for."""
    own = pytester.path / "expected_accuracy.yaml"

    projects = read()
    own.touch()
    options = read()

    assert options.store is not None
    assert options == Options(expected=own, store=options.store)
    assert projects.expected.read_bytes() == (Path(__file__).parents[2] / "expected_accuracy.yaml").read_bytes()


def test_values_are_read_once(read: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Lists are separated by commas and name each setting once; variables are defaults; ~ is the home."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("IMAGENET_DIR", "/data")
    given = ["--models=a, b,a", "--precision=bf16,fp32,bf16", "--memory-format=contiguous", "--compile"]

    options = read(*given, "--store=~/kept", "--results=~/run", "--limit=7", "--batch-size=9", "--workers=3")

    assert (options.imagenet, options.models) == ("/data", ("a", "b"))
    assert list(map(str, options.settings)) == [
        "bf16-contiguous", "bf16-contiguous-compiled", "fp32-contiguous", "fp32-contiguous-compiled",
    ]  # fmt: skip
    assert (options.store, options.results) == (tmp_path / "kept", tmp_path / "run")
    assert (options.limit, options.batch_size, options.workers) == (7, 9, 3)
    assert read("--store=kept", "--no-store").store is None
    with pytest.raises(ExpectedError, match=r"--precision: expected one of fp32, tf32, bf16, fp16, found 'fp8'"):
        read("--precision=fp32,fp8")


@pytest.mark.parametrize(
    ("store", "process", "expected"),
    [
        (None, Process(), 8),
        (None, Process(local_world_size=3), 2),
        (None, Process(world_size=16, local_world_size=16), 1),
        (Path("kept"), Process(world_size=2, local_world_size=2), 8),
        (Path("kept"), Process(local_world_size=2), 4),
    ],
)
def test_decoding_processes_share_the_cores(
    store: Path | None, process: Process, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ranks with a store take turns, so that each may use all."""
    monkeypatch.setattr("harness.options.available_cores", lambda: 8)

    assert Options(store=store, process=process).decoding_processes == expected
    assert Options(store=store, process=process, workers=5).decoding_processes == 5


@pytest.mark.parametrize("text", ["0", "-1", "1.5", "", "many", "²"])
def test_a_number_must_be_whole_and_above_0(text: str) -> None:
    """Or argparse says what it found."""
    assert positive("12") == 12
    with pytest.raises(argparse.ArgumentTypeError, match="expected a whole number above 0, found"):
        positive(text)


def test_small_things() -> None:
    """An empty folder is an error, an empty list is none; a case is named by what is in a node id's brackets."""
    with pytest.raises(argparse.ArgumentTypeError, match="expected a folder, found nothing"):
        folder("")
    assert listed(" ,a,, b ,a") == ("a", "b")
    assert case_id("tests/test_accuracy.py::test_accuracy[a-V1-fp32]") == "a-V1-fp32"
    assert case_id("tests/test_other.py::test_other") == ""
    assert Setting() == Options().settings[0]
