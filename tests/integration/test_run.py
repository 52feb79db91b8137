"""Tests of harness.run: what a case's record says of its pixels."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import torch
import xxhash

from harness.data.decode import crop_image
from harness.data.layouts import open_split
from harness.data.preset import Geometry
from harness.evaluation.place import ALONE, Place
from harness.evaluation.setting import DEFAULT
from harness.evaluation.spec import ModelSpec
from harness.gate.cases import Case, select_cases
from harness.gate.expected import Entry
from harness.gate.expected_file import read_expected
from harness.reporting.progress import NOWHERE, CaseProgress
from harness.run import Run
from tests.colours import EXPECTED, TOP1, TOP5, write_split


def opened(folder: Path, *, batch_size: int | None = None, store: Path | None = None, place: Place = ALONE) -> Run:
    """Return a run on the small classifier's images, written below ``folder``."""
    return Run(
        str(write_split(folder / "colours")),
        device="cpu",
        batch_size=batch_size,
        limit=None,
        decoder="pillow",
        precisions=["fp32"],
        workers=1,
        store=store,
        place=place,
    )


@pytest.mark.parametrize("keep", [True, False])
def test_the_record_holds_the_digest_of_the_pixels(keep: bool, tmp_path: Path) -> None:
    """It is that of the crops which the model saw, whether they are kept or not, and says so beside the hits."""
    (tmp_path / "expected.yaml").write_text(EXPECTED)
    [case] = select_cases(read_expected(tmp_path / "expected.yaml"), ["all"], [DEFAULT], embedded=False)
    store = tmp_path / "store" if keep else None

    with opened(tmp_path, batch_size=5, store=store) as run:
        record = run.evaluate(case, CaseProgress("", NOWHERE))

    sources = open_split(str(tmp_path / "colours")).sources
    crops = [crop_image(source.read(), Geometry(8, 8, "bilinear")).tobytes() for source in sources]
    expected = hashlib.sha256(b"".join(map(xxhash.xxh3_128_digest, crops))).hexdigest()
    assert expected == record.inputs_digest
    assert (record.measured.top1, record.measured.top5, record.note) == (TOP1, TOP5, "")


@pytest.mark.parametrize(
    ("place", "expected"),
    [
        (ALONE, ["alexnet", "vgg16", "resnet18", "googlenet"]),
        (Place(rank=1, world=2, local_rank=1, local_world=2), ["alexnet", "vgg16", "resnet18", "googlenet"]),
        (Place(local_rank=1, local_world=2), ["vgg16", "alexnet", "resnet18", "googlenet"]),
        (Place(local_rank=0, local_world=4), ["vgg16", "resnet18", "googlenet", "alexnet"]),
    ],
)
def test_workers_with_cases_of_their_own_begin_with_the_large_ones(
    place: Place, expected: list[str], tmp_path: Path
) -> None:
    """Two workers get VGG16 with AlexNet, and the two between; ranks, which share each case, keep the file's order."""
    models = expected if place == ALONE else ["alexnet", "vgg16", "resnet18", "googlenet"]
    cases = tuple(Case(Entry(ModelSpec(model, "IMAGENET1K_V1"), ()), DEFAULT) for model in models)

    with opened(tmp_path, place=place) as run:
        order = run.order(cases)

    assert [f"{model}-IMAGENET1K_V1-fp32" for model in expected] == sorted(order, key=lambda case: order[case])


def test_the_threads_of_torch_are_restored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While a run is open, one of two processes has half of them; afterwards they are as they were."""
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    threads = [8]
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads[-1])
    monkeypatch.setattr(torch, "set_num_threads", threads.append)

    with opened(tmp_path, place=Place(local_rank=1, local_world=2)) as run:
        assert 4 == run.environment().threads

    assert [8, 4, 8] == threads
