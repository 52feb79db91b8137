"""Tests of several processes: ranks of torchrun that share the images, and workers of xdist that share the models."""

from __future__ import annotations

import json
import signal
import socket
from multiprocessing.connection import wait
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from harness import parallel, plugin
from harness.evaluation.place import Place
from harness.reporting import progress
from harness.reporting.run_folder import read_run
from tests.colours import EXPECTED
from tests.integration.conftest import Gate
from tests.ranks import run_one, run_pytest, start

CASE = "nearest-V1-fp32"
COMMAND = ["-m", "imagenet", "--imagenet=colours", "--workers=1", "--rank-timeout=50", "-p", "no:cacheprovider"]
# What differs between two runs of the same: time, and the check's text, which tells of a baseline's path.
TIMES = ("seconds", "images_per_second")


def _cases(run: Path) -> list[dict[str, Any]]:
    cases: list[dict[str, Any]] = json.loads((run / "record.json").read_text())["cases"]
    return [{name: value for name, value in case.items() if name not in TIMES} for case in cases]


def _said(folder: Path, rank: int) -> str:
    """Return what a rank has printed; less what Gloo of torch 2.9 says on its own account."""
    lines = (folder / str(rank)).read_text().splitlines(keepends=True)
    return "".join(line for line in lines if not line.startswith("[Gloo] Rank "))


@pytest.mark.parametrize(("images", "world"), [(7, 3), (1, 2)])
@pytest.mark.slow
def test_ranks_come_to_what_one_process_comes_to(images: int, world: int, gate: Gate, project: Path) -> None:
    """Hits, answers, pixels and verdict are those of a run without ranks, whatever does not divide by what.

    Only the logits' last digits may be others, since a share makes other batches.
    """
    gate("--imagenet=colours", f"--limit={images}", "--results=one")

    statuses = run_pytest(project, *[[*COMMAND, f"--limit={images}", "--results=ranks"]] * world, out=project)

    fails = images == 1  # which no band could judge
    assert [int(fails)] * world == statuses, _said(project, rank=0)
    assert _cases(project / "one") == _cases(project / "ranks")
    one, ranks = (read_run(project / name) for name in ("one", "ranks"))
    here, there = vars(one.answers(CASE)), vars(ranks.answers(CASE))
    np.testing.assert_allclose(here.pop("logits"), there.pop("logits"), rtol=1e-6)
    for name, values in here.items():
        np.testing.assert_array_equal(values, there[name])
    assert (1, world) == (one.record.environment.processes, ranks.record.environment.processes)


@pytest.mark.slow
def test_the_first_rank_speaks_for_all(project: Path) -> None:
    """The others print nothing, write nothing, and fail with it where a check fails."""
    expected = (project / "expected_accuracy.yaml").read_text()
    (project / "expected_accuracy.yaml").write_text(expected.replace("acc@1: 75.0", "acc@1: 50.0"))

    first = [*COMMAND, "--results=run", "--junitxml=report.xml"]
    second = [*COMMAND, "--results=run", "--junitxml=silent.xml", "--baseline=on-the-first-machine-alone"]

    statuses = run_pytest(project, first, second, out=project)

    assert [1, 1] == statuses
    lines = _said(project, rank=0)
    assert "top-1: FAILED: measured 75.000, published 50.000" in lines
    assert "2 processes" in lines
    assert "" == _said(project, rank=1)
    assert (project / "report.xml").read_text().count("<testcase") == 1
    assert not (project / "silent.xml").exists()


def run_telling_all(folder: Path, command: list[str], out: Path) -> None:
    """Run pytest in this process, a rank, with a line of progress for everything, however soon it is over."""
    progress._LINE_EVERY_SECONDS = 0.0
    run_one(folder, command, out)


@pytest.mark.slow
def test_the_first_rank_shows_how_far_it_is(project: Path) -> None:
    """With its own share of the images, and saying so; the others show nothing."""
    processes = start(run_telling_all, [(project, COMMAND, project)] * 2)

    for process in processes:
        process.join(timeout=60)
    lines = _said(project, rank=0).splitlines()
    assert "rank 0 of 2, nearest-V1-fp32: decoding: 0 of 8 images" in lines
    assert "rank 0 of 2, nearest-V1-fp32: forward: 0 of 8 images" in lines
    assert "" == _said(project, rank=1)


@pytest.mark.slow
def test_the_first_rank_ends_first(project: Path) -> None:
    """Torchrun ends all ranks once one has failed, and the first has a run to write: the others wait for that."""
    (project / "conftest.py").write_text(
        (project / "conftest.py").read_text()
        + "\nimport os, time\n"
        + "def pytest_sessionfinish():\n    time.sleep(1.5 * (os.environ['RANK'] == '0'))\n"
    )

    processes = start(run_one, [(project, [*COMMAND, "--limit=1", "--results=run"], project)] * 2)

    ended = wait([process.sentinel for process in processes], timeout=60)
    for process in processes:
        process.join(timeout=10)
    assert [processes[0].sentinel] == ended
    assert [1, 1] == [process.exitcode for process in processes]
    assert [1] == [case["images"] for case in _cases(project / "run")]


@pytest.mark.slow
def test_a_rank_that_dies_ends_the_run_with_what_was_done(project: Path) -> None:
    """The case that it was at is an error, those after it did not run, those before it stay; no verdict is partial."""
    more = "".join(
        f"  - {{model: {model}, weights: V1, builder: 'tests.colours:{builder}', preset: *preset, colours: *values}}\n"
        for model, builder in (("second", "killed_on_rank_1"), ("third", "nearest_colour"))
    )
    (project / "expected_accuracy.yaml").write_text(EXPECTED + more)

    statuses = run_pytest(project, *[[*COMMAND, "--models=all", "--results=run"]] * 2, out=project)

    assert [1, -signal.SIGKILL] == statuses
    said = _said(project, rank=0)
    sentence = "ended before it could bring its answers of second-V1-fp32. Nothing is judged without its images"
    assert sentence in said
    assert "the ranks have lost each other" in said
    first, second, third = json.loads((project / "run" / "record.json").read_text())["cases"]
    assert ("held", 16) == (first["outcome"], first["images"])
    assert ("second-V1-fp32", "error") == (second["id"], second["outcome"])
    assert sentence in second["detail"]
    assert {"id": "third-V1-fp32", "outcome": "not run", "detail": ""} == third


@pytest.mark.slow
@pytest.mark.parametrize(
    ("old", "new", "mistake"),
    [
        (
            "colours",
            "nowhere",
            "--imagenet 'nowhere': expected a folder or archive of images, found nothing at {}",
        ),
        ("--workers=1", "--models=none", "--models: 'none' matches no model in the file of expected values"),
    ],
)
def test_a_mistake_on_one_rank_ends_all(old: str, new: str, mistake: str, project: Path) -> None:
    """The sentence names the rank, its machine and what is wrong; it is told once, and nothing is evaluated."""
    there = [argument.replace(old, new) for argument in COMMAND]

    statuses = run_pytest(project, [*COMMAND, "--results=run"], [*there, "--results=run"], out=project)

    assert [4, 4] == statuses
    said = _said(project, rank=0)
    assert f"ERROR: rank 1 of 2 ({socket.gethostname()}): {mistake.format(project / 'nowhere')}" in said
    assert "" == _said(project, rank=1)
    assert not list(project.glob("run*"))


@pytest.mark.slow
def test_a_rank_that_was_started_otherwise_ends_all(project: Path) -> None:
    """What is not one run is not evaluated as one."""
    statuses = run_pytest(project, COMMAND, [*COMMAND, "--limit=8"], out=project)

    assert [4, 4] == statuses
    assert "the image set is 'colours, 8 images, labels " in _said(project, rank=0)
    assert "" == _said(project, rank=1)


@pytest.mark.parametrize(("worker", "silent"), [(True, True), (False, False)])
def test_workers_of_xdist_show_no_progress(
    worker: bool, silent: bool, pytestconfig: pytest.Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They have one terminal in common, and would write over each other."""
    monkeypatch.setattr(pytestconfig.option, "verbose", 0)
    monkeypatch.setattr(pytestconfig, "workerinput", {}, raising=False)
    if not worker:
        monkeypatch.delattr(pytestconfig, "workerinput")

    assert silent == (plugin._console(pytestconfig) is progress.NOWHERE)


def test_workers_of_xdist_and_ranks_exclude_each_other(project: Path) -> None:
    """Who shares what would be a guess."""
    [status] = run_pytest(project, [*COMMAND, "-n2", "-p", "xdist"], out=project)

    assert 4 == status
    assert "ERROR: -n shares out models, torchrun shares out images: give one of them" in _said(project, rank=0)


def test_a_timing_under_torchrun_is_refused(project: Path) -> None:
    """Ranks beside each other would time one another."""
    [status] = run_pytest(project, ["-m", "imagenet or throughput", "--imagenet=colours"], out=project)

    assert 4 == status
    assert "-m throughput times one model on one device: run it without torchrun" in _said(project, rank=0)


@pytest.mark.parametrize(
    ("device", "mark", "gpus", "workers"),
    [
        ("auto", "imagenet", ["2", "5", "7"], 3),
        ("auto", "imagenet", [], None),
        ("cpu", "imagenet", ["2", "5"], None),
        ("auto", "not imagenet", ["2", "5"], None),
    ],
)
def test_as_many_workers_as_gpus(
    device: str, mark: str, gpus: list[str], workers: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``-n auto`` is xdist's own affair without a GPU, and in runs that have nothing to do with the gate."""
    monkeypatch.setattr(parallel, "visible_gpus", lambda _: gpus)
    config: Any = SimpleNamespace(getoption={"device": device, "markexpr": mark}.get)

    assert workers == parallel.pytest_xdist_auto_num_workers(config)


def test_more_workers_than_gpus_are_refused_at_once(gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before any is started: none shares a GPU with another."""
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,6")

    result = gate("--imagenet=colours", "-n", "3", "-p", "xdist")

    assert 4 == result.ret
    result.stderr.fnmatch_lines(
        "ERROR: 3 processes on one machine, and 2 GPUs can be used there (CUDA_VISIBLE_DEVICES=3,6): start one*"
    )


@pytest.mark.parametrize(("given", "expected"), [(None, 1), (5, 5)])
def test_workers_take_one_case_at_a_time(given: int | None, expected: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Xdist would hand out several beforehand, the last of which would wait for a worker that is busy."""
    monkeypatch.setattr(parallel, "parse_tx_spec_config", lambda _: ["popen"] * 3)
    options = {"markexpr": "imagenet", "dist": "load", "device": "cpu"}
    config: Any = SimpleNamespace(
        getoption=lambda name, default=None: options.get(name, default),
        option=SimpleNamespace(maxschedchunk=given, collectonly=False),
        stash={},
    )

    parallel.pytest_configure(config)

    assert expected == config.option.maxschedchunk
    assert Place(local_world=3) == config.stash[parallel.PLACE]


def test_a_worker_that_follows_a_crash_has_the_gpu_that_is_free() -> None:
    """Xdist gives it a new name; by that it would share the GPU of another."""
    config: Any = SimpleNamespace(stash={parallel._SLOTS: {}, parallel.PLACE: Place(local_world=3)})
    nodes = [
        SimpleNamespace(config=config, gateway=SimpleNamespace(id=f"gw{number}"), workerinput={}) for number in range(4)
    ]

    for node in nodes[:3]:
        parallel.pytest_configure_node(node)
    parallel.pytest_testnodedown(nodes[1])
    parallel.pytest_configure_node(nodes[3])

    assert [(0, 3), (1, 3), (2, 3), (1, 3)] == [node.workerinput[parallel._SLOT] for node in nodes]
