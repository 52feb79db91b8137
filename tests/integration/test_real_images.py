"""Real images and a real pretrained model: the harness against loops that share no code with it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torchvision.datasets.folder import pil_loader
from torchvision.transforms import InterpolationMode
from torchvision.transforms._presets import ImageClassification

from benchmarks.against_plain_loop import run_gate, run_plain_loop
from harness.data import imagenet
from harness.data.decode import crop_image
from harness.data.decoder import Decoder
from harness.data.layouts import open_split
from harness.data.preset import Geometry
from harness.data.store import Store
from harness.evaluation.feed import Feed
from harness.evaluation.loop import predict
from harness.evaluation.models import geometry_of, load
from harness.gate.expected_file import read_expected
from harness.gate.scores import score
from tests import independent_loop

ROOT = Path(__file__).parents[2]
IMAGES = 12
GRAY = "n02676566/n02676566_acoustic_guitar.JPEG"


def show_nothing(_done: int, _images: int) -> None:
    """Show no progress."""


def test_answers_are_those_of_an_independent_loop(real_images: Path) -> None:
    """EfficientNet-Lite0: the five best classes of each image, and so the hits, are the independent loop's."""
    pytest.importorskip("efficientnet_lite_pytorch", reason="the extra lite is not installed")
    [entry] = [e for e in read_expected(ROOT / "expected_accuracy.yaml") if e.spec.model == "efficientnet_lite0"]
    split = open_split(str(real_images)).subset(IMAGES)
    loaded = load(entry.spec, torch.device("cpu"))
    with Store(split, Decoder(), None, workers=2) as store:
        decoded = store.decoded(loaded.facts.preset.geometry, show_nothing)

        predictions = predict(
            loaded.model,
            decoded,
            loaded.facts.preset,
            feed=Feed(torch.device("cpu")),
            batch_size=16,
        )

    paths = [Path(str(source)) for source in split.sources]
    answers = independent_loop.five_best(independent_loop.efficientnet_lite0(), paths)
    targets = [imagenet.wnids().index(path.parent.name) for path in paths]
    assert answers == predictions.top5.tolist()
    measured = score(predictions, split.targets, classes=1000)
    assert measured.top1 == sum(answer[0] == target for answer, target in zip(answers, targets, strict=True))
    assert measured.top5 == sum(target in answer for answer, target in zip(answers, targets, strict=True))
    assert measured.top1 > IMAGES // 2


def test_real_images_fill_half_of_the_classes(real_images: Path) -> None:
    """Each image has the index of its wnid, though only half of the class folders exist."""
    split = open_split(str(real_images))

    assert (len(split), len(set(split.targets.tolist())), split.caveat) == (500, 500, "")
    folders = [Path(str(source)).parent.name for source in split.sources]
    assert folders == [imagenet.wnids()[target] for target in split.targets]


@pytest.mark.slow
def test_hits_are_those_of_a_plain_loop(real_images: Path, tmp_path: Path) -> None:
    """With the same state dicts the gate counts what a loop counts that decodes anew for each model."""
    loop = real_images.parent / "baselines" / "naive_eval.py"
    if not loop.is_file():
        pytest.skip("../shared/baselines is not there")
    for wnid, path in zip(imagenet.wnids(), sorted(real_images.rglob("*.JPEG"))[:12], strict=False):
        (tmp_path / "split" / wnid).mkdir(parents=True)
        (tmp_path / "split" / wnid / path.name).symlink_to(path.resolve())
    models = ["alexnet", "resnet18"]

    plain, _ = run_plain_loop(loop, tmp_path / "split", models)
    gate, _ = run_gate(tmp_path / "split", models, tmp_path)

    assert set(plain) == set(models)
    assert plain == gate


@pytest.fixture(scope="module")
def geometries() -> list[Geometry]:
    """The 27 distinct geometries of the 114 weights of torchvision."""
    entries = read_expected(ROOT / "expected_accuracy.yaml")
    found = {geometry_of(entry.spec) for entry in entries if entry.spec.builder is None}
    assert len(found) == 27
    return sorted(found, key=str)


def test_cropped_pixels_are_those_of_torchvisions_preset(real_images: Path, geometries: list[Geometry]) -> None:
    """For every geometry: real files, gray and large ones too, up to where torchvision converts to float."""
    split = open_split(str(real_images))
    files = [Path(str(source)) for source in split.subset(3).sources]
    files.append(real_images / "val" / GRAY)
    for geometry in geometries:
        preset = ImageClassification(
            crop_size=geometry.crop,
            resize_size=geometry.resize,
            interpolation=InterpolationMode(geometry.interpolation),
            mean=(0, 0, 0),
            std=(1, 1, 1),
        )
        for path in files:
            theirs = preset(pil_loader(str(path)))  # the uint8 pixels, divided by 255

            ours = torch.tensor(crop_image(path.read_bytes(), geometry)).permute(2, 0, 1) / 255.0
            assert torch.equal(theirs, ours), f"{path} in {geometry}"
