"""Runs of several processes: ranks of torchrun that share the images, and workers of xdist that share the cases."""

from __future__ import annotations

import re
import signal
import socket
import sys
from multiprocessing.connection import wait
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from harness.parallel import plugin
from harness.records.results import Missing
from harness.records.run_folder import read_run
from harness.report import progress
from tests.integration.conftest import Gate, add_to_conftest, entry, expect, measured
from tests.ranks import run_one, run_pytest, start

CASE = "nearest-V1-fp32"
HOST = socket.gethostname()
COMMAND = ["-m", "imagenet", "--imagenet=colors", "--workers=1", "--rank-timeout=50", "-p", "no:cacheprovider"]


def _output(folder: Path, rank: int) -> str:
    """Return what a rank printed, without Gloo's own lines in torch 2.9."""
    lines = (folder / str(rank)).read_text().splitlines(keepends=True)
    return "".join(line for line in lines if not line.startswith("[Gloo] Rank "))


@pytest.mark.slow
@pytest.mark.parametrize(("images", "world_size"), [(7, 3), (1, 2)])
def test_ranks_give_the_result_of_one_process(images: int, world_size: int, gate: Gate, project: Path) -> None:
    """Counts, predictions, pixels and verdict are equal, also with a rank that has no image.

    Only the logits' last digits may differ, since the batches do.
    """
    one_process = gate("--imagenet=colors", f"--limit={images}", "--results=one")

    statuses = run_pytest(project, *[[*COMMAND, f"--limit={images}", "--results=ranks"]] * world_size, out=project)

    assert one_process.ret == pytest.ExitCode.TESTS_FAILED  # too few images to judge
    assert [one_process.ret] * world_size == statuses, _output(project, rank=0)
    one, ranks = (read_run(project / name) for name in ("one", "ranks"))
    assert [measured(case) for case in one.record.cases] == [measured(case) for case in ranks.record.cases]
    here, there = (vars(run.predictions(run.record.cases[0])) for run in (one, ranks))
    for name in ("logits", "logsumexp"):
        np.testing.assert_allclose(here.pop(name), there.pop(name), rtol=1e-6)
    for name, values in here.items():
        np.testing.assert_array_equal(values, there[name])
    assert (1, world_size) == (one.record.environment.processes, ranks.record.environment.processes)


def run_with_every_line(folder: Path, command: list[str], out: Path) -> None:
    """Run pytest in this process, a rank, with all progress, however soon the work is over."""
    progress._LINE_EVERY_SECONDS = 0.0
    run_one(folder, command, out)


@pytest.mark.slow
def test_only_the_first_rank_reports(project: Path) -> None:
    """With the progress of its own share; the others print nothing, write nothing, and fail with it."""
    expect(project, {"acc@1: 75.0": "acc@1: 50.0"})
    first = [*COMMAND, "--results=run", "--junitxml=report.xml"]
    second = [*COMMAND, "--results=run", "--junitxml=silent.xml", "--baseline=on-the-first-machine-alone"]

    processes = start(run_with_every_line, [(project, command, project) for command in (first, second)])

    for process in processes:
        process.join(timeout=60)
    assert [1, 1] == [process.exitcode for process in processes]
    output = _output(project, rank=0)
    lines = [line.partition(" images, ")[0] for line in output.splitlines()]
    assert f"rank 0 of 2, {CASE}: decoding: 0 of 8" in lines
    assert f"rank 0 of 2, {CASE}: forward: 0 of 8" in lines
    assert ": top-1: measured 75.000, published 50.000" in output
    assert "2 processes" in output
    assert "" == _output(project, rank=1)
    assert (project / "report.xml").read_text().count("<testcase") == 1
    assert not (project / "silent.xml").exists()


@pytest.mark.slow
def test_the_first_rank_ends_first(project: Path) -> None:
    """Torchrun ends all ranks once one has failed, and the first has a run to write: the others wait for that.

    If one was killed, torchrun's SIGTERM comes while the first writes the run, and must not stop it.
    """
    code = """
    import os, signal, time
    def pytest_sessionfinish():
        if os.environ["RANK"] == "0":
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(1.5)
    """
    add_to_conftest(project, code)
    expect(project, {"acc@1: 75.0": "acc@1: 50.0"})

    processes = start(run_one, [(project, [*COMMAND, "--results=run"], project)] * 2)

    ended = wait([process.sentinel for process in processes], timeout=60)
    for process in processes:
        process.join(timeout=10)
    assert [processes[0].sentinel] == ended
    assert [1, 1] == [process.exitcode for process in processes]
    assert ["failed"] == [case.outcome for case in read_run(project / "run").record.cases]


@pytest.mark.slow
def test_a_rank_that_dies_ends_the_run_with_what_was_done_before(project: Path) -> None:
    """Its case is an error, those after it did not run, and those before it are kept; no case is judged in part."""
    expect(project, {}, entry("second", "tests.colors:killed_on_rank_1"), entry("third"))

    statuses = run_pytest(project, *[[*COMMAND, "--models=all", "--results=run"]] * 2, out=project)

    assert [1, -signal.SIGKILL] == statuses
    output = _output(project, rank=0)
    sentence = "rank 1 of 2 ended before it could bring its predictions of second-V1-fp32. Nothing is judged without"
    assert sentence in output
    assert "the ranks have lost contact with each other" in output
    record = read_run(project / "run").record
    assert [(CASE, "passed", 16)] == [(case.id, case.outcome, case.counts.images) for case in record.cases]
    second, third = record.missing_cases
    assert ("second-V1-fp32", "error") == (second.id, second.outcome)
    assert sentence in second.detail
    assert Missing("third-V1-fp32", "not run") == third


@pytest.mark.slow
@pytest.mark.parametrize(
    ("option", "mistake"),
    [
        (
            "--imagenet=nowhere",
            rf"rank 1 of 2 \({HOST}\): --imagenet 'nowhere': expected a folder or archive of images, ",
        ),
        ("--models=none", rf"rank 1 of 2 \({HOST}\): --models: 'none' "),
        (
            "--limit=8",
            r"rank 1 was not started like rank 0: the dataset is 'colors, 8 images, labels \w{8}' there, and "
            r"'colors, 16 images, labels \w{8}' on rank 0; start all ranks with the same command, in the same "
            r"environment\n",
        ),
        ("--precision=bf16", "rank 1 was not started like rank 0: --precision is 'bf16' there, and 'fp32' on rank 0; "),
    ],
    ids=["dataset", "models", "limit", "precision"],
)
def test_a_mistake_on_one_rank_ends_all(option: str, mistake: str, project: Path) -> None:
    """One message names the rank, its machine and the mistake, and nothing is evaluated."""
    statuses = run_pytest(project, [*COMMAND, "--results=run"], [*COMMAND, "--results=run", option], out=project)

    assert [4, 4] == statuses
    assert re.search(f"^ERROR: {mistake}", _output(project, rank=0), re.MULTILINE)
    assert "" == _output(project, rank=1)
    assert not list(project.glob("run*"))


@pytest.mark.parametrize(
    ("device", "mark", "gpus", "workers"),
    [
        ("auto", "imagenet", 3, 3),
        ("auto", "imagenet", 0, None),
        ("cpu", "imagenet", 2, None),
        ("auto", "slow", 2, None),
    ],
)
def test_as_many_workers_as_gpus(
    device: str, mark: str, gpus: int, workers: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``-n auto`` is left to xdist without a GPU, and in runs of other tests."""
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    config: Any = SimpleNamespace(getoption={"device": device, "markexpr": mark}.get)

    assert workers == plugin.pytest_xdist_auto_num_workers(config)


def _config(**options: Any) -> Any:
    """Return the configuration of a process of a run on GPUs, with these values of options."""
    option = SimpleNamespace(device="auto", maxschedchunk=None, **options)
    return SimpleNamespace(
        option=option, getoption=lambda name, default=None: getattr(option, name, default), add_cleanup=lambda _: None
    )


def test_a_controller_gives_its_workers_gpus_and_one_case_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that replaces another has a new name, and the GPU of the other; the controller has none.

    Of several cases handed out beforehand the last one would wait for a worker that is busy.
    """
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    monkeypatch.setattr(plugin, "gate_of", lambda _: SimpleNamespace(staging=None))
    monkeypatch.setenv("OMP_NUM_THREADS", "2")  # a choice, so that the threads of this process stay as they are
    config = _config(dist="load", tx=["2*popen", "popen"])
    controller = plugin.Parallel(config, None)
    nodes = [SimpleNamespace(gateway=SimpleNamespace(id=f"gw{number}"), workerinput={}) for number in range(4)]

    for node in nodes[:3]:
        controller.pytest_configure_node(node)
    controller.pytest_testnodedown(nodes[1])
    controller.pytest_configure_node(nodes[3])

    assert [(0, 3, ""), (1, 3, ""), (2, 3, ""), (1, 3, "")] == [node.workerinput["imagenet_process"] for node in nodes]
    controller.pytest_imagenet_process(config)
    assert ("auto", 1) == (config.option.device, config.option.maxschedchunk)
    for node, device in zip(nodes, ("cuda:0", "cuda:1", "cuda:2", "cuda:1"), strict=True):
        worker = _config()
        worker.workerinput = node.workerinput
        plugin.Parallel(worker, None).pytest_imagenet_process(worker)
        assert device == worker.option.device
    given = _config(dist="load", tx=["popen"])
    given.option.maxschedchunk = 5
    plugin.Parallel(given, None)
    assert 5 == given.option.maxschedchunk


@pytest.mark.slow
def test_a_worker_that_is_killed_leaves_its_case_without_a_result(gate: Gate, project: Path) -> None:
    """Named, with what happened; the others are evaluated, and the run is no success."""
    expect(project, {}, entry("killed", "tests.colors:killed_in_a_worker"), entry("sound"))

    result = gate("--imagenet=colors", "--models=all", "--results=run", "-n2", "-p", "xdist")

    assert pytest.ExitCode.TESTS_FAILED == result.ret
    result.assert_outcomes(passed=2, failed=1)
    run = read_run(project / "run")
    assert {CASE: "passed", "sound-V1-fp32": "passed"} == {case.id: str(case.outcome) for case in run.record.cases}
    [missing] = run.record.missing_cases
    assert ("killed-V1-fp32", "error") == (missing.id, missing.outcome)
    assert re.fullmatch(r"worker 'gw\d' crashed while running '.*\[killed-V1-fp32\]'", missing.detail)
    result.stdout.fnmatch_lines(["*killed-V1-fp32: ERROR, no result (see above)"])
    assert ["run"] == [path.name for path in project.glob("run*")]


@pytest.mark.slow
def test_workers_that_a_signal_ends_leave_nothing_behind(
    project: Path, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the middle of a case xdist kills them; the controller removes what they had."""
    code = """
    import os, signal, time
    def pytest_imagenet_progress(phase):
        if phase == "forward":
            os.kill(os.getppid(), signal.SIGTERM)
            time.sleep(60)
    """
    add_to_conftest(project, code)
    temporary = project / "temporary"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    command = ["-m", "pytest", "-m", "imagenet", "--imagenet=colors", "--results=run", "-n2", "-p", "xdist"]

    result = pytester.run(sys.executable, *command, timeout=120)

    assert pytest.ExitCode.INTERRUPTED == result.ret
    assert [] == [*project.glob("run*"), *temporary.glob("imagenet-gate-*")]
