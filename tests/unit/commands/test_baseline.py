"""Tests of harness.commands.baseline: the study's real predictions, from a local server."""

from __future__ import annotations

import io
import json
import shutil
import threading
from collections.abc import Iterator
from fractions import Fraction
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from math import comb
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from harness.__main__ import main
from harness.data import imagenet
from harness.gate.answers import Answers
from harness.gate.pairing import pair
from harness.gate.scores import TopK
from harness.gate.tolerance import FLOORS
from harness.reporting import study
from harness.reporting.record import measured_cases
from harness.reporting.run_folder import read_run

ALEXNET, RESNET18 = "alexnet-IMAGENET1K_V1-fp32", "resnet18-IMAGENET1K_V1-fp32"


@pytest.fixture(scope="module")
def predictions(request: pytest.FixtureRequest) -> dict[str, NDArray[np.int16]]:
    """Return the study's five best classes, by model, in file-name order."""
    found: dict[str, NDArray[np.int16]] = request.getfixturevalue("study")
    return found


@pytest.fixture(scope="module")
def data(predictions: dict[str, NDArray[np.int16]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Lay two models out as the study does: images by class, int64."""
    root = tmp_path_factory.mktemp("study") / "data"
    labels = imagenet.validation_labels()
    order = np.argsort(labels, kind="stable")
    listed = [[f"ILSVRC2012_val_{image + 1:08}.JPEG", imagenet.wnids()[labels[image]]] for image in order.tolist()]
    (root / study.DATASET).parent.mkdir(parents=True)
    (root / study.DATASET).write_text(json.dumps({"seed": 1, "image_filenames": listed}))
    for model in ("alexnet", "resnet18"):
        path = root / study.path_of(model)
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
    """Fetched over HTTP, in file-name order, with the known labels and the published hits; classes without logits."""
    folder = tmp_path / "run"

    status = main(["baseline", "fetch", study.NAME, f"--from={server}", f"--to={folder}", "--models=alexnet,resnet18"])

    assert status == 0
    assert capsys.readouterr().out == f"{folder}: 2 models on imagenet-1k, 50,000 images, classes without logits\n"
    run = read_run(folder)
    assert [(case.id, case.measured) for case in measured_cases(run.record.cases)] == [
        (ALEXNET, TopK(50_000, 28_259, 39_535)),
        (RESNET18, TopK(50_000, 34_879, 44_538)),
    ]
    answers = run.answers(ALEXNET)
    assert answers is not None
    assert answers.logits is None
    assert answers.ids[[0, 1, -1]].tolist() == [f"ILSVRC2012_val_{n:08}.JPEG" for n in (1, 2, 50_000)]
    np.testing.assert_array_equal(answers.top5, predictions["alexnet"])
    np.testing.assert_array_equal(answers.targets, predictions["label"])


@pytest.mark.parametrize("k", [1, 5, 25, 100])
def test_changed_answers_are_reported_as_what_they_are(k: int, predictions: dict[str, NDArray[np.int16]]) -> None:
    """Of AlexNet's real answers k are changed at random, and k near-ties; logits are drawn, as the study tells none."""
    rng = np.random.default_rng(k)
    n, floor = 50_000, FLOORS["fp32"]
    ids = np.array([f"{number:05}" for number in range(n)])
    gaps = rng.uniform(0.01, 2, size=(n, 4))
    chosen = rng.choice(n, 2 * k, replace=False)
    real, ties = chosen[:k], chosen[k:]
    gaps[ties, 0] = rng.uniform(0, floor.margin / 4, size=k)
    logits = (10 - np.concatenate([np.zeros((n, 1)), np.cumsum(gaps, axis=1)], axis=1)).astype(np.float32)
    old = Answers(ids, predictions["label"], predictions["alexnet"], logits)
    top5 = predictions["alexnet"].copy()
    top5[chosen] = top5[chosen][:, [1, 0, 2, 3, 4]]
    new = Answers(ids, predictions["label"], top5, logits)

    paired = pair(old, new, floor)

    assert {change.id for change in paired.real} == set(ids[real].tolist())
    assert {change.id for change in paired.changed if change.near_tie} == set(ids[ties].tolist())
    was, now = (answers.top5[:, 0] == predictions["label"] for answers in (old, new))
    lost, gained = int((was & ~now).sum()), int((now & ~was).sum())
    one_way = sum(comb(lost + gained, one) for one in range(min(lost, gained) + 1))
    assert (paired.lost, paired.gained) == (lost, gained)
    assert paired.p == float(min(Fraction(1), Fraction(2 * one_way, 2 ** (lost + gained))))
    assert lost + gained >= k // 2


def _damaged(data: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(data, tmp_path / "copy"))


def _another_answer(root: Path) -> None:
    top5 = np.load(root / study.path_of("alexnet"))
    top5[7] = top5[7][[0, 1, 2, 4, 3]]
    np.save(root / study.path_of("alexnet"), top5)


def _cut_off(root: Path) -> None:
    path = root / study.path_of("alexnet")
    path.write_bytes(path.read_bytes()[:1000])


def _half(root: Path) -> None:
    np.save(root / study.path_of("alexnet"), np.zeros((25_000, 5), np.int64))


def _another_label(root: Path) -> None:
    path = root / study.DATASET
    path.write_text(path.read_text().replace("n01440764", "n01443537", 1))


def _an_image_less(root: Path) -> None:
    values = json.loads((root / study.DATASET).read_text())
    (root / study.DATASET).write_text(json.dumps({"image_filenames": values["image_filenames"][1:]}))


def _a_page(root: Path) -> None:
    (root / study.DATASET).write_text("<html>404</html>")


def _an_archive(root: Path) -> None:
    with (root / study.path_of("alexnet")).open("wb") as file:
        np.savez(file, np.zeros((50_000, 5)))


def _missing(root: Path) -> None:
    (root / study.path_of("alexnet")).unlink()


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (_another_answer, "alexnet.npy: not the published predictions: sha256 "),
        (_cut_off, "alexnet.npy: not a whole array ("),
        (_half, "alexnet.npy: expected (50000, 5) class indices, found int64 of shape (25000, 5)"),
        (_another_label, "original.json: 1 images have another class than in the validation set"),
        (_an_image_less, "original.json: expected each of 50,000 images once, found 49,999 names"),
        (_a_page, "original.json: not the study's list of images: JSONDecodeError"),
        (_an_archive, "alexnet.npy: expected an array of numpy, found b'PK"),
        (_missing, "alexnet.npy: cannot be read: No such file or directory"),
    ],
)
def test_what_is_not_the_study_is_refused(
    damage: object, sentence: str, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In one sentence, with nothing left of it."""
    root = _damaged(data, tmp_path)
    assert callable(damage)
    damage(root)

    status = main(["baseline", "fetch", study.NAME, f"--from={root}", f"--to={tmp_path / 'run'}", "--models=alexnet"])

    error = capsys.readouterr().err.splitlines()[-1]
    assert (status, sentence in error) == (2, True), error
    assert [path.name for path in tmp_path.iterdir()] == ["copy"]


def test_a_server_that_has_nothing_is_told(server: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With the way out where there is no internet."""
    status = main(["baseline", "fetch", study.NAME, f"--from={server}/nowhere", f"--to={tmp_path / 'run'}"])

    assert status == 2
    assert capsys.readouterr().err.splitlines()[-1] == (
        f"error: {server}/nowhere/{study.DATASET} could not be fetched (File not found); where there is no internet, "
        "fetch the study's data folder elsewhere and give it as --from DIR"
    )
    assert list(tmp_path.iterdir()) == []


def test_hits_are_checked_where_no_digest_is_known(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """ResNet-34's published hits are not AlexNet's."""
    root = _damaged(data, tmp_path)
    shutil.copy(root / study.path_of("alexnet"), root / study.path_of("resnet34"))

    status = main(["baseline", "fetch", study.NAME, f"--from={root}", f"--to={tmp_path / 'run'}", "--models=resnet34"])

    assert status == 2
    assert (
        capsys.readouterr()
        .err.splitlines()[-1]
        .endswith("resnet34.npy: not the published predictions: 28,259 and 39,535 hits, expected 36,657 and 45,710")
    )


def test_a_folder_that_holds_something_is_not_replaced(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Least of all one's own baseline; and a model that is named twice is fetched once."""
    fetch = ["baseline", "fetch", study.NAME, f"--from={data}", f"--to={tmp_path / 'run'}", "--models=alexnet,alexnet"]

    first, second = main(fetch), main(fetch)

    out, errors = capsys.readouterr()
    assert (first, second) == (0, 2)
    assert out.endswith(": 1 models on imagenet-1k, 50,000 images, classes without logits\n")
    assert errors.endswith("run: expected a new or empty folder; what is there is not replaced\n")


def test_an_unknown_model_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Before anything is fetched."""
    status = main(["baseline", "fetch", study.NAME, f"--to={tmp_path / 'run'}", "--models=vit_b_16"])

    assert status == 2
    assert capsys.readouterr().err.startswith("error: --models: 'vit_b_16' is not among the study's: alexnet, dense")


def test_bytes_of_numpy_are_never_unpickled(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An array of objects would run what it holds."""
    root = _damaged(data, tmp_path)
    buffer = io.BytesIO()
    np.save(buffer, np.array([{}], dtype=object), allow_pickle=True)
    (root / study.path_of("alexnet")).write_bytes(buffer.getvalue())

    status = main(["baseline", "fetch", study.NAME, f"--from={root}", f"--to={tmp_path / 'run'}", "--models=alexnet"])

    assert status == 2
    assert "Object arrays cannot be loaded" in capsys.readouterr().err
