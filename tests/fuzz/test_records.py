"""Random mutations of runs: the commands read them, or reject them in one sentence, never with a traceback."""

from __future__ import annotations

import io
import json
import random
import shutil
import zipfile
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from harness.cli.main import main
from harness.records.evidence import Bounds, ChangedPrediction, Unpaired
from harness.records.results import Missing, plain
from tests.records import case_result, pairing, run_record, timing_result, write_run

CASES = (
    case_result(
        baseline=pairing(examples=(ChangedPrediction("0001.JPEG", 1, 2, True, False, 0.25, False),)),
        bounds=(Bounds("calibration", 0.5, 0.0, None, "of 15 bins"),),
        preparation={"decoder": "pillow", "resize": 256, "crop": 224, "mean": [0.485, 0.456, 0.406]},
        switches={"cudnn.allow_tf32": False, "product": "float32, 23 bits"},
        first_input={"id": "0000.JPEG", "sha256": "f1r5t", "low": -2.0, "high": 2.5},
        notes=("evaluated in batches of 8",),
    ),
    case_result("vgg16", (1000, 702, 900), baseline=Unpaired("missing", "the earlier run has none")),
)
TIMINGS = (
    timing_result(seconds=(0.5, 0.25, 0.25), clocks={"sm_mhz": 1980, "throttled": ["power cap"]}, yardstick=0.125),
    timing_result("vgg16", seconds=(0.5,), warm_up={"calls": 40, "seconds": 1.5, "stable": False}),
)
ODD: list[Any] = [
    None, True, -1, 0, 5, 9999, 2**31, 2**63, 2**70, 10**400, -0.5, 1e30, 1e308, float("inf"), float("nan"), "", "x",
    "063", "1e400", "Infinity", "NaN", "-1", "\ud800", "\x1b[2J", "a" * 5000, [], {}, [None], [[]], [{"a": []}],
    {"a": {"b": [1]}}, [1, "a"], [float("nan")], "../../x", "2026-11-24", "3.0", "3.9",
]  # fmt: skip


def _nodes(value: Any) -> list[tuple[Any, Any]]:
    """Return the container and key of everything within nested values."""
    keys: Any = value.keys() if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    return [node for key in keys for node in ((value, key), *_nodes(value[key]))]


def _mutate_json(file: Path, chance: random.Random) -> None:
    values = json.loads(file.read_text())
    for _ in range(chance.choice((1, 1, 2, 4))):
        container, key = chance.choice(_nodes(values))
        match chance.randrange(6):
            case 0:
                del container[key]
            case 1 if isinstance(container, list):
                container.insert(key, chance.choice((container[key], *ODD)))
            case 2:
                container[key] = deepcopy(chance.choice(_nodes(values))[0])
            case _:
                container[key] = chance.choice(ODD)
    file.write_text(json.dumps(values))
    if not chance.randrange(10):
        _mutate_bytes(file, chance)


def _mutate_bytes(file: Path, chance: random.Random) -> None:
    data = bytearray(file.read_bytes())
    for _ in range(chance.choice((1, 8))):
        start = chance.randrange(len(data))
        data[start : start + chance.choice((1, 1, 4, 100))] = chance.randbytes(chance.choice((0, 1, 4)))
    file.write_bytes(data)


def _mutate_arrays(file: Path, chance: random.Random) -> None:
    """Change a value, the type, the shape or the header of one array, and write the file as NumPy does."""
    with np.load(file) as stored:
        arrays = dict(stored)
    name = chance.choice(sorted(arrays))
    array = arrays[name]
    kind, members = array.dtype.kind, {}
    odd: dict[str, list[float]] = {"i": [-1, 9999, 32767], "u": [0, 255], "f": [np.inf, -np.inf, np.nan, 3e38]}
    match chance.randrange(7):
        case 0 if kind in odd:
            array[(chance.randrange(len(array)), *[0] * (array.ndim - 1))] = chance.choice(odd[kind])
        case 1:
            arrays[name] = array.astype("S" if kind == "U" else chance.choice(("f8", "S8", "U9", "c8", "?")))
        case 2:
            arrays[name] = chance.choice((array[:0], array[:1], array[None], array.reshape(-1), array[..., None]))
        case 3:
            del arrays[name]
        case 4:
            arrays[name] = np.concatenate((array, array))
        case 5:
            array[:] = np.sort(array, axis=-1)
        case _:
            shapes = "(-1,)", f"({10**18},)", f"({2**62}, {2**62})", "(1000, 1000000)", "('a',)", "()", "(" * 500
            shape = chance.choice(shapes)
            header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}".ljust(117).encode()
            members[name] = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header[:65000]
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as packed:
        for key, values in arrays.items():
            buffer = io.BytesIO()
            np.save(buffer, values)
            packed.writestr(f"{key}.npy", members.get(key, buffer.getvalue()))


MUTATIONS: dict[str, tuple[str, Callable[[Path, random.Random], None]]] = {
    "record": ("run/record.json", _mutate_json),
    "benchmarks": ("benchmarks.json", _mutate_json),
    "labels": ("run/labels.npz", _mutate_arrays),
    "predictions": ("run/predictions/resnet18*.npz", _mutate_arrays),
    "inputs": ("run/inputs/*.npz", _mutate_arrays),
    "bytes": ("run/*/*.npz", _mutate_bytes),
}


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run, and the same run as a file of pytest-benchmark."""
    folder = tmp_path_factory.mktemp("sound")
    run = write_run(folder / "run", run_record([*CASES, Missing("alexnet-fp32", "error", "none")], TIMINGS))
    benchmarks = [{"extra_info": timing.info(), "stats": {"data": list(timing.seconds)}} for timing in TIMINGS]
    values = {"benchmarks": benchmarks, "imagenet_gate": plain(run.record)}
    (folder / "benchmarks.json").write_text(json.dumps(values))
    return folder


@pytest.mark.parametrize("seed", [*range(3), *(pytest.param(n, marks=pytest.mark.fuzz) for n in range(3, 60))])
@pytest.mark.parametrize("kind", MUTATIONS)
def test_a_mutated_run_is_read_or_rejected_in_one_sentence(
    kind: str, seed: int, sound: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """By every command that reads runs; damaged arrays are never read as other values."""
    chance, (pattern, mutate) = random.Random(f"{kind} {seed}"), MUTATIONS[kind]
    for number in range(10):
        copy = shutil.copytree(sound, tmp_path / str(number))
        mutate(chance.choice(sorted(copy.glob(pattern))), chance)
        damaged = str(copy / pattern.partition("/")[0])
        for command in (
            ["compare", str(sound / "run"), damaged],
            ["compare", damaged, str(sound / "run")],
            ["report", damaged, "--markdown", str(tmp_path / "report.md")],
            ["merge", damaged, "--results", str(tmp_path / f"merged{number}")],
        ):
            status = main(command)
            errors = capsys.readouterr().err

            assert status in (0, 1, 2), command
            assert "Traceback" not in errors, (command, errors)
            if status == 2:
                assert (errors.count("\n"), errors[:7]) == (1, "error: "), (command, errors)
                assert len(errors) < 2000, command


def test_a_sound_run_is_read(sound: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """So that the rejections above are those of the mutations."""
    assert main(["compare", str(sound / "run"), str(sound / "run"), "--fail-on=accuracy,speed"]) == 0
    assert main(["report", str(sound / "benchmarks.json"), "--markdown", str(tmp_path / "r.md")]) == 1  # a missing case
    assert main(["merge", str(sound / "run"), "--results", str(tmp_path / "merged")]) == 1
    assert capsys.readouterr().err == ""
    assert msgspec.json.decode((tmp_path / "merged" / "record.json").read_bytes())["cases"]
