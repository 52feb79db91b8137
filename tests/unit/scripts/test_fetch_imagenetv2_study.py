"""Tests of scripts/fetch_imagenetv2_study.py: the study's real predictions, from a local server."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from harness.formats import imagenet
from harness.records.evidence import Counts
from harness.records.run_folder import read_run
from scripts.fetch_imagenetv2_study import DATASET, NOTE, main, path_of


@pytest.fixture(scope="module")
def predictions(request: pytest.FixtureRequest) -> dict[str, NDArray[np.int16]]:
    """Return the study's five highest classes, by model, in file-name order."""
    found: dict[str, NDArray[np.int16]] = request.getfixturevalue("study")
    return found


@pytest.fixture(scope="module")
def data(predictions: dict[str, NDArray[np.int16]], tmp_path_factory: pytest.TempPathFactory) -> Path:
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
        np.save(path, predictions[model][order].astype(np.int64))
    return root


class _Silent(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Print nothing."""


@pytest.fixture
def server(data: Path) -> Iterator[str]:
    """Serve the files, and return the URL."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Silent, directory=str(data))) as served:
        thread = threading.Thread(target=served.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{served.server_port}"
        served.shutdown()
        thread.join()


def test_the_studys_predictions_become_a_run(
    server: str, predictions: dict[str, NDArray[np.int16]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Fetched over HTTP, in file-name order, with the known labels and counts; classes without logits."""
    folder = tmp_path / "run"

    status = main([f"--from={server}/", f"--to={folder}", "--models=alexnet,resnet18,alexnet"])

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
    np.testing.assert_array_equal(found.top, predictions["alexnet"])
    np.testing.assert_array_equal(run.labels[1], predictions["label"])


def _changed(root: Path) -> None:
    top5 = np.load(root / path_of("alexnet"))
    top5[7] = top5[7][[0, 1, 2, 4, 3]]
    np.save(root / path_of("alexnet"), top5)


def _cut_short(root: Path) -> None:
    path = root / path_of("alexnet")
    path.write_bytes(path.read_bytes()[:1000])


def _objects(root: Path) -> None:
    np.save(root / path_of("alexnet"), np.array([{}], dtype=object), allow_pickle=True)


def _half(root: Path) -> None:
    np.save(root / path_of("alexnet"), np.zeros((25_000, 5), np.int64))


def _another_label(root: Path) -> None:
    path = root / DATASET
    path.write_text(path.read_text().replace("n01440764", "n01443537", 1))


def _one_image_less(root: Path) -> None:
    values = json.loads((root / DATASET).read_text())
    (root / DATASET).write_text(json.dumps({"image_filenames": values["image_filenames"][1:]}))


def _page(root: Path) -> None:
    (root / DATASET).write_text("<html>404</html>")


def _missing(root: Path) -> None:
    (root / path_of("alexnet")).unlink()


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (_changed, "alexnet.npy: expected the published predictions, 28,259 and 39,535 correct, found 28,259"),
        (_cut_short, "alexnet.npy: expected a whole array of numpy ("),
        (_objects, "Object arrays cannot be loaded"),
        (_half, "alexnet.npy: expected (50000, 5) class indices, found int64 of shape (25000, 5)"),
        (_another_label, "original.json: 1 images have another class than in the validation set"),
        (_one_image_less, "original.json: expected each of 50,000 images once, found 49,999 names"),
        (_page, "original.json: expected the study's list of images (JSONDecodeError"),
        (_missing, "alexnet.npy could not be fetched ("),
    ],
)
def test_other_data_is_an_error(
    damage: Callable[[Path], None], sentence: str, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In one sentence, with nothing left of it."""
    root = Path(shutil.copytree(data, tmp_path / "copy"))
    damage(root)

    status = main([f"--from={root}", f"--to={tmp_path / 'run'}", "--models=alexnet"])

    error = capsys.readouterr().err.splitlines()[-1]
    assert (status, sentence in error) == (2, True), error
    assert [path.name for path in tmp_path.iterdir()] == ["copy"]


def test_a_folder_with_something_in_it_is_not_replaced(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Least of all one's own baseline."""
    (tmp_path / "record.json").touch()

    assert main([f"--to={tmp_path}"]) == 2
    assert "expected a new or empty folder" in capsys.readouterr().err
