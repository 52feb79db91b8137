"""Tests of scripts/fetch_imagenetv2_study.py: the study's real predictions."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from harness.formats import imagenet
from harness.records.evidence import Counts
from harness.records.run_folder import read_run
from scripts.fetch_imagenetv2_study import DATASET, NOTE, main, path_of

ALEXNET = path_of("alexnet")


@pytest.fixture(scope="module")
def data(study: dict[str, NDArray[np.int16]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Lay two models out as the study does: images by class, int64."""
    root = tmp_path_factory.mktemp("study") / "data"
    labels = imagenet.validation_labels()
    order = np.argsort(labels, kind="stable")
    listed = [[f"ILSVRC2012_val_{image + 1:08}.JPEG", imagenet.wnids()[labels[image]]] for image in order.tolist()]
    (root / DATASET).parent.mkdir(parents=True)
    (root / DATASET).write_text(json.dumps({"seed": 1, "image_filenames": listed}))
    for model in ("alexnet", "resnet18"):
        path = root / path_of(model)
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, study[model][order].astype(np.int64))
    return root


def test_the_studys_predictions_become_a_run(
    data: Path, study: dict[str, NDArray[np.int16]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Fetched by a URL, in file-name order, with the known labels and counts; classes without logits."""
    folder = tmp_path / "run"

    status = main([f"--from={data.as_uri()}/", f"--to={folder}", "--models=alexnet,resnet18,alexnet"])

    assert status == 0
    assert capsys.readouterr().out == f"{folder}: 2 models on imagenet-1k, 50,000 images, classes without logits\n"
    run = read_run(folder)
    alexnet, resnet18 = run.record.cases
    assert (alexnet.id, alexnet.counts) == ("alexnet-IMAGENET1K_V1-fp32", Counts(50_000, 28_259, 39_535))
    assert (resnet18.id, resnet18.counts) == ("resnet18-IMAGENET1K_V1-fp32", Counts(50_000, 34_879, 44_538))
    assert alexnet.notes == (NOTE,)
    assert run.record.environment.facts == {}
    found = run.predictions(alexnet)
    assert (found.logits, found.hashes) == (None, None)
    assert found.ids[[0, 1, -1]].tolist() == [f"ILSVRC2012_val_{n:08}.JPEG" for n in (1, 2, 50_000)]
    np.testing.assert_array_equal(found.top, study["alexnet"])
    np.testing.assert_array_equal(run.labels[1], study["label"])


def _npy(values: NDArray[Any]) -> bytes:
    file = io.BytesIO()
    np.save(file, values, allow_pickle=True)
    return file.getvalue()


@pytest.mark.parametrize(
    ("file", "damage", "sentence"),
    [
        # The last two of an image's five classes are exchanged, which changes neither count.
        (ALEXNET, lambda data: data[:-16] + data[-8:] + data[-16:-8], "28,259 and 39,535 correct, found 28,259"),
        (ALEXNET, lambda _: _npy(np.array([{}])), "expected a whole array of numpy (Object arrays cannot be loaded"),
        (ALEXNET, lambda _: _npy(np.zeros((9, 5), int)), "(50000, 5) class indices, found int64 of shape (9, 5)"),
        (ALEXNET, None, "could not be fetched ("),
        (DATASET, lambda data: data.replace(b"n01440764", b"n01443537", 1), "1 images have another class than in"),
        (DATASET, lambda data: data.replace(b"00001.", b"00002.", 1), "each of 50,000 images once, found 50,000 names"),
        (DATASET, lambda _: b"<html>404</html>", "expected the study's list of images (JSONDecodeError"),
    ],
)
def test_other_data_is_an_error(
    file: str, damage: Any, sentence: str, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In one sentence that names the file, with nothing left of it."""
    path = shutil.copytree(data, tmp_path / "copy") / file
    if damage is None:
        path.unlink()
    else:
        path.write_bytes(damage(path.read_bytes()))

    status = main([f"--from={tmp_path / 'copy'}", f"--to={tmp_path / 'run'}", "--models=alexnet"])

    error = capsys.readouterr().err.splitlines()[-1]
    assert (status, file in error, sentence in error) == (2, True, True), error
    assert [path.name for path in tmp_path.iterdir()] == ["copy"]


def test_a_folder_with_something_in_it_is_not_replaced(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Least of all one's own baseline."""
    (tmp_path / "record.json").touch()

    assert main([f"--to={tmp_path}"]) == 2
    assert "expected a new or empty folder" in capsys.readouterr().err
