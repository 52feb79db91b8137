"""Damaged expected files, labels and weights: each is read as it was, or refused in one sentence."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import torch
import torchvision

from harness.dataset import open_dataset
from harness.errors import DatasetError, ExpectedError, HarnessError
from harness.expected import ModelSpec
from harness.models import load
from harness.records.accuracy_file import read_expected
from tests.colours import EXPECTED
from tests.unit.formats.test_kaggle import write_tree

TOKENS = [
    "0_5", "1:09", "063", "0x1F", "1e400", ".inf", ".nan", "-1", "~", "null", "yes", "!!int", "!!binary x", "&a [*a]",
    "*preset", "{", "]", "- ", ": ", "<<: *preset", "\t", "\x00", "\ud7ff", "'", "\"", "#", "---\n", "%TAG", "n" * 5000,
    "[" * 400, "50,000", "75.0%", "\u0664\u0665", "acc@1: 3", "tests.colours:missing", "os:getcwd", ",", "\r",
    "1" * 5000,
]  # fmt: skip


def damage(data: bytes, chance: random.Random) -> bytes:
    """Return the data with a few tokens put in, and bytes changed, left out or repeated."""
    changed = bytearray(data)
    for _ in range(chance.randint(1, 3)):
        start = chance.randrange(len(changed) + 1)
        end = start + chance.choice((0, 1, 4, 30))
        match chance.randrange(4):
            case 0:
                changed[start:end] = chance.choice(TOKENS).encode()
            case 1:
                del changed[start:end]
            case 2:
                changed[start:start] = changed[start:end]
            case 3:
                changed[start:end] = chance.randbytes(end - start)
    return bytes(changed)


@pytest.mark.parametrize("seeds", [range(1_400, 1_700), pytest.param(range(10_000), marks=pytest.mark.fuzz)], ids=len)
def test_a_damaged_expected_file_is_read_or_an_error(tmp_path: Path, seeds: range) -> None:
    """Counts are of the dataset, and messages of one line."""
    path, text = tmp_path / "expected.yaml", EXPECTED.encode()
    read, messages = 0, []
    for seed in seeds:
        path.write_bytes(damage(text, random.Random(seed)))
        try:
            entries = read_expected(path)
        except ExpectedError as error:
            messages.append(str(error))
        else:
            read += 1
            for expected in (value for entry in entries for each in entry.expected.values() for value in each.values()):
                assert 0 <= expected.counts.top1 <= expected.counts.top5 <= expected.counts.images, seed
    assert 0 < read < len(seeds)
    assert [text for text in messages if not text.startswith(f"{path}: ") or "\n" in text or len(text) > 2000] == []


def write_kaggle(root: Path) -> Path:
    """Kaggle's tree with two images, whose labels are in a table."""
    return write_tree(root) / "LOC_val_solution.csv"


@pytest.mark.parametrize("inputs", [300, pytest.param(10_000, marks=pytest.mark.fuzz)])
def test_damaged_labels_are_an_error_or_right(tmp_path: Path, inputs: int) -> None:
    """No image of Kaggle's tree has another label than the one of its number."""
    path = write_kaggle(tmp_path)
    sound, known = path.read_bytes(), {"ILSVRC2012_val_00000001.JPEG": 65, "ILSVRC2012_val_00000002.JPEG": 970}
    read, messages = 0, []
    for seed in range(inputs):
        path.write_bytes(damage(sound, random.Random(seed)))
        try:
            dataset = open_dataset(tmp_path)
        except DatasetError as error:
            messages.append(str(error))
        else:
            read += 1
            for identity, target in zip(dataset.ids, dataset.targets.tolist(), strict=True):
                assert known[identity] == target, seed
    assert 0 < read < inputs
    assert [text for text in messages if not text.isprintable() or len(text) > 2000] == []


@pytest.mark.parametrize("inputs", [10, pytest.param(300, marks=pytest.mark.fuzz)])
def test_damaged_weights_are_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, inputs: int) -> None:
    """A file in the cache is compared with the hash in its name before anything is read of it."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr("urllib.request.urlopen", lambda *_, **__: pytest.fail("a download was tried"))
    weights = torchvision.models.SqueezeNet1_1_Weights.IMAGENET1K_V1
    path = tmp_path / "hub" / "checkpoints" / weights.url.rpartition("/")[2]
    path.parent.mkdir(parents=True)
    torch.save(torchvision.models.squeezenet1_1().state_dict(), tmp_path / "sound")
    sound = (tmp_path / "sound").read_bytes()
    for seed in range(inputs):
        path.write_bytes(damage(sound[: 2 ** (seed % 20)] if seed % 3 else sound, random.Random(seed)))

        with pytest.raises(HarnessError) as caught:
            load(ModelSpec("squeezenet1_1", "IMAGENET1K_V1"), torch.device("cpu"))

        assert str(caught.value).isprintable(), seed
        assert len(str(caught.value)) < 2000, seed
