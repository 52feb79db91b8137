"""Damaged archives, tables, labels, expected files and weights: each is read as it was, or rejected in one sentence."""

from __future__ import annotations

import random
import signal
import tarfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import platformdirs
import pytest
import torch
import torchvision

from harness.dataset import open_dataset
from harness.errors import HarnessError
from harness.expected import ModelSpec
from harness.formats import imagenet
from harness.models import load
from harness.records.accuracy_file import read_expected
from tests.archives import tar_header, write_files, write_parquet, write_tar
from tests.colors import EXPECTED

Damage = Callable[[bytes, random.Random], bytes]
SECONDS = 20  # for one input
TARGETS = {"ILSVRC2012_val_00000001": 65, "ILSVRC2012_val_00000002": 970, "ILSVRC2012_val_00000003": 230}
TOKENS = [
    "0_5", "1:09", "063", "0x1F", "1e400", ".inf", ".nan", "-1", "~", "null", "yes", "!!int", "!!binary x", "&a [*a]",
    "*preset", "{", "]", "- ", ": ", "<<: *preset", "\t", "\x00", "\ud7ff", "'", "\"", "#", "---\n", "%TAG", "n" * 5000,
    "[" * 400, "50,000", "75.0%", "\u0664\u0665", "acc@1: 3", "tests.colors:missing", "os:getcwd", ",", "\r",
    "1" * 5000,
]  # fmt: skip
# Sizes, pax records and sparse maps of which tarfile makes something else than an error of its own.
SPLICES = [
    b"\xff" * 12, b"\x80" + b"\xff" * 11, b"\x80" + b"\0" * 7 + b"\x7f\xff\xff\xff", b"-0000001\0", b"77777777777\0",
    b"22 GNU.sparse.major=1\n", b"25 GNU.sparse.map=a,b,c,\n", b"20 size=99999999999\n", b"9999999999 path=a\n",
    b"\0" * 12, b"../",
]  # fmt: skip


@pytest.fixture(autouse=True)
def alarm() -> Iterator[None]:
    """Let an input that takes too long fail the test, and not hang it."""
    before = signal.signal(signal.SIGALRM, lambda *_: pytest.fail(f"no end after {SECONDS} s"))
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def _images(root: Path) -> Path:
    """Images in a pax archive, one behind a long name, and a folder with a record to be damaged."""
    folder = tar_header("folder", tarfile.DIRTYPE, pax_headers={"comment": "c" * 100})
    return write_tar(root / "mine.tar", {f"{'f' * 120}/{name}.JPEG": name.encode() for name in TARGETS}, folder)


def _webdataset(root: Path) -> Path:
    members: dict[str, bytes] = {}
    for name, target in TARGETS.items():
        members |= {f"{name}.jpg": name.encode(), f"{name}.cls": str(target).encode()}
        members[f"{name}.json"] = b'{"cls": %d}' % target
    return write_tar(root / "mine.tar", members)


def _parquet(root: Path) -> Path:
    rows = [(name.encode(), f"{name}.JPEG", target) for name, target in TARGETS.items()]
    return write_parquet(root / "mine.parquet", rows, compression="none")


def _kaggle(root: Path) -> Path:
    write_files(root / "ILSVRC/Data/CLS-LOC/val", *(f"{name}.JPEG" for name in TARGETS))
    rows = (f"{name},{imagenet.wnids()[target]} 1 2 3 4 \n" for name, target in TARGETS.items())
    (root / "LOC_val_solution.csv").write_text(f"ImageId,PredictionString\n{''.join(rows)}")
    return root / "LOC_val_solution.csv"


def mend(data: bytearray) -> None:
    """Write right checksums into all headers of an archive, so that damage in them is not taken for its end."""
    for start in range(0, len(data) - 511, 512):
        if data[start + 257 : start + 262] == b"ustar":
            data[start + 148 : start + 156] = b" " * 8
            data[start + 148 : start + 156] = b"%06o\0 " % sum(data[start : start + 512])


def damage_binary(data: bytes, chance: random.Random, *, is_tar: bool = False) -> bytes:
    """Return the data with one to four bytes, fields or blocks of it changed."""
    changed = bytearray(data)
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(len(changed))
        header = at // 512 * 512
        match chance.randrange(7 if is_tar else 4):
            case 0:
                changed[at] = chance.randrange(256)
            case 1:
                splice = chance.choice(SPLICES)
                changed[at : at + len(splice)] = splice
            case 2:
                del changed[at : at + chance.choice([1, 10, 512, len(changed)])]
                changed = changed or bytearray(b"\0")
            case 3:
                changed[at:at] = changed[header : header + 512]
            case 4:
                changed[header + 156 : header + 157] = chance.choice(b"0123456789LKSxgVXAD\0").to_bytes(1, "big")
            case 5:
                changed[header + 124 : header + 136] = chance.choice(SPLICES[:5]).ljust(12, b"\0")
            case 6:
                changed[header:header] = changed[header : header + 512] * chance.choice([1, 2, 3000])
    if is_tar and chance.random() < 0.8:
        mend(changed)
    return bytes(changed)


damage_tar = partial(damage_binary, is_tar=True)


def damage_text(data: bytes, chance: random.Random) -> bytes:
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


def read_damaged(
    path: Path, damage: Damage, seeds: range, read: Callable[[Path], Any], opened: Path
) -> Iterator[tuple[int, Any]]:
    """Yield seeds and what is read after the damage; some is rejected, in one sentence that begins with the path."""
    sound, messages = path.read_bytes(), []
    for seed in seeds:
        path.write_bytes(damage(sound, random.Random(seed)))
        signal.alarm(SECONDS)
        try:
            yield seed, read(opened)
        except HarnessError as error:
            messages.append(str(error))
    assert 0 < len(messages) < len(seeds)
    sentences = [text for text in messages if text.startswith(str(opened)) and text.isprintable() and len(text) <= 2000]
    assert [text for text in messages if text not in sentences] == []


@pytest.mark.parametrize("inputs", [200, pytest.param(10_000, marks=pytest.mark.fuzz)])
@pytest.mark.parametrize(
    ("write", "damage"),
    [
        (_images, damage_tar),
        (_webdataset, damage_tar),
        (_parquet, damage_binary),
        (_kaggle, damage_text),
    ],
)
def test_a_damaged_dataset_opens_or_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: Callable[[Path], Path], damage: Damage, inputs: int
) -> None:
    """Never a traceback, never a wait, and never a label that contradicts the image's number."""
    monkeypatch.setattr(platformdirs, "user_cache_path", lambda _name: tmp_path / "cache")
    path = write(tmp_path / "mine")
    opened = path.parent if path.suffix == ".csv" else path

    for seed, dataset in read_damaged(path, damage, range(inputs), open_dataset, opened):
        for identity, target in zip(dataset.ids, dataset.targets.tolist(), strict=True):
            assert TARGETS.get(identity.removesuffix(".JPEG"), target) == target, seed


@pytest.mark.parametrize("seeds", [range(1_400, 1_700), pytest.param(range(10_000), marks=pytest.mark.fuzz)], ids=len)
def test_a_damaged_expected_file_is_read_or_an_error(tmp_path: Path, seeds: range) -> None:
    """Counts are of the dataset."""
    path = tmp_path / "expected.yaml"
    path.write_text(EXPECTED)

    for seed, entries in read_damaged(path, damage_text, seeds, read_expected, path):
        for expected in (value for entry in entries for each in entry.expected.values() for value in each.values()):
            assert 0 <= expected.counts.top1 <= expected.counts.top5 <= expected.counts.images, seed


@pytest.mark.parametrize("inputs", [10, pytest.param(300, marks=pytest.mark.fuzz)])
def test_damaged_weights_are_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, inputs: int) -> None:
    """A file in the cache is compared with the hash in its name before anything is read of it."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr("urllib.request.urlopen", lambda *_, **__: pytest.fail("a download was tried"))
    weights = torchvision.models.SqueezeNet1_1_Weights.IMAGENET1K_V1
    path = tmp_path / "hub" / "checkpoints" / weights.url.rpartition("/")[2]
    path.parent.mkdir(parents=True)
    torch.save(torchvision.models.squeezenet1_1().state_dict(), path)
    sound = path.read_bytes()
    for seed in range(inputs):
        path.write_bytes(damage_text(sound[: 2 ** (seed % 20)] if seed % 3 else sound, random.Random(seed)))

        with pytest.raises(HarnessError) as caught:
            load(ModelSpec("squeezenet1_1", "IMAGENET1K_V1"), torch.device("cpu"))

        assert str(caught.value).isprintable(), seed
        assert len(str(caught.value)) < 2000, seed
