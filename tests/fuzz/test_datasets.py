"""Damaged archives and tables: each opens as it was, or is refused in one sentence."""

from __future__ import annotations

import random
import signal
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import platformdirs
import pytest

from harness.dataset import open_dataset
from harness.errors import DatasetError
from tests.archives import write_parquet, write_tar

SECONDS = 20  # for one input
NAMES = [f"ILSVRC2012_val_{number:08}" for number in (1, 2, 3)]
TARGETS = [65, 970, 230]
# Sizes, pax records and sparse maps of which tarfile makes something else than an error of its own.
SPLICES = [
    b"\xff" * 12,
    b"\x80" + b"\xff" * 11,
    b"\x80" + b"\0" * 7 + b"\x7f\xff\xff\xff",
    b"-0000001\0",
    b"77777777777\0",
    b"22 GNU.sparse.major=1\n",
    b"25 GNU.sparse.map=a,b,c,\n",
    b"20 size=99999999999\n",
    b"9999999999 path=a\n",
    b"\0" * 12,
    b"../",
]


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep indexes out of the user's cache folder."""
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setattr(platformdirs, "user_cache_path", lambda _name: folder)


@pytest.fixture(autouse=True)
def alarm() -> Iterator[None]:
    """Let an input that takes too long fail the test, and not hang it."""
    before = signal.signal(signal.SIGALRM, lambda *_: pytest.fail(f"no end after {SECONDS} s"))
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def write_images(root: Path) -> Path:
    """Images in a pax archive, one behind a long name."""
    members = {f"{'f' * 120}/{name}.JPEG": name.encode() for name in NAMES}
    return write_tar(root / "mine.tar", members, sparse())


def write_shard(root: Path) -> Path:
    """A WebDataset shard."""
    members: dict[str, bytes] = {}
    for name, target in zip(NAMES, TARGETS, strict=True):
        members |= {
            f"{name}.jpg": name.encode(),
            f"{name}.cls": str(target).encode(),
            f"{name}.json": b'{"cls": %d}' % target,
        }
    return write_tar(root / "mine.tar", members)


def write_table(root: Path) -> Path:
    """A Parquet shard."""
    pytest.importorskip("pyarrow", reason="the extra parquet is not installed")
    rows = [(name.encode(), f"{name}.JPEG", target) for name, target in zip(NAMES, TARGETS, strict=True)]
    return write_parquet(root / "mine.parquet", rows, compression="none")


def sparse() -> tarfile.TarInfo:
    """A folder with a record that an archive may have, to be damaged."""
    info = tarfile.TarInfo("folder")
    info.type, info.pax_headers = tarfile.DIRTYPE, {"comment": "c" * 100}
    return info


def mend(data: bytearray) -> None:
    """Write right checksums into all headers of an archive, so that damage in them is not taken for its end."""
    for start in range(0, len(data) - 511, 512):
        if data[start + 257 : start + 262] == b"ustar":
            data[start + 148 : start + 156] = b" " * 8
            data[start + 148 : start + 156] = b"%06o\0 " % sum(data[start : start + 512])


def damage(data: bytes, rng: random.Random, *, is_tar: bool) -> bytes:
    """Return the data with one to four bytes, fields or blocks of it changed."""
    changed = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(changed))
        header = at // 512 * 512
        match rng.randrange(7 if is_tar else 4):
            case 0:
                changed[at] = rng.randrange(256)
            case 1:
                splice = rng.choice(SPLICES)
                changed[at : at + len(splice)] = splice
            case 2:
                del changed[at : at + rng.choice([1, 10, 512, len(changed)])]
                changed = changed or bytearray(b"\0")
            case 3:
                changed[at:at] = changed[header : header + 512]
            case 4:
                changed[header + 156 : header + 157] = rng.choice(b"0123456789LKSxgVXAD\0").to_bytes(1, "big")
            case 5:
                changed[header + 124 : header + 136] = rng.choice(SPLICES[:5]).ljust(12, b"\0")
            case 6:
                changed[header:header] = changed[header : header + 512] * rng.choice([1, 2, 3000])
    if is_tar and rng.random() < 0.8:
        mend(changed)
    return bytes(changed)


@pytest.mark.parametrize("write", [write_images, write_shard, write_table])
@pytest.mark.parametrize("inputs", [150, pytest.param(5_000, marks=pytest.mark.fuzz)])
def test_a_damaged_file_opens_or_is_an_error(tmp_path: Path, write: Callable[[Path], Path], inputs: int) -> None:
    """Never a traceback, never a wait, and never a label that contradicts the image's number."""
    path = write(tmp_path)
    sound = path.read_bytes()
    known = dict(zip((f"{name}.JPEG" for name in NAMES), TARGETS, strict=True))
    opened, messages = 0, []
    for seed in range(inputs):
        path.write_bytes(damage(sound, random.Random(seed), is_tar=path.suffix == ".tar"))
        signal.alarm(SECONDS)
        try:
            dataset = open_dataset(path)
        except DatasetError as error:
            messages.append(str(error))
        else:
            opened += 1
            for identity, target in zip(dataset.ids, dataset.targets.tolist(), strict=True):
                assert known.get(identity, target) == target, seed
    assert opened
    assert messages
    assert [message for message in messages if not (message.startswith(str(path)) and message.isprintable())] == []
