"""Tests of imagenet-gate bisect, with an index of made-up versions in a folder."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from harness.bisect.versions import Package
from harness.cli.main import main
from tests.colors import EXPECTED, write_dataset

# What the package of version 1.N gives to the model: 1.3 cannot be installed, and from 1.4 on all is shifted.
OFFSETS = {0: 0.0, 1: 0.0, 2: 0.0, 3: None, 4: 0.5, 5: 0.5}
MODEL = """
import pathlib
import torch
from offset import OFFSET
from tests.colors import NearestColor

def build():
    with pathlib.Path("built").open("a") as built:
        built.write("x")
    model = NearestColor()
    model.register_forward_hook(lambda module, images, logits: logits + OFFSET * torch.arange(1000) / 1000)
    return model
"""


def write_wheel(folder: Path, name: str, version: str, module: str, content: str = "", needs: str = "") -> None:
    """Write a wheel of one module into an index."""
    about = f"{name}-{version}.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{needs and f'Requires-Dist: {needs}'}\n"
    (folder / name).mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(folder / name / f"{name}-{version}-py3-none-any.whl", "w") as wheel:
        wheel.writestr(module, content)
        wheel.writestr(f"{about}/METADATA", metadata)
        wheel.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{about}/RECORD", "".join(f"{path},,\n" for path in wheel.namelist()))


def write_index(folder: Path) -> str:
    """Write the pages of an index of wheels, and return its URL."""
    for package in folder.iterdir():
        links = (f'<a href="{wheel.name}">{wheel.name}</a>' for wheel in sorted(package.iterdir()))
        (package / "index.html").write_text(f"<!DOCTYPE html><html><body>{' '.join(links)}</body></html>")
    return folder.as_uri()


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the arguments of a search in a folder with a dataset, a model that uses the package, and an index."""
    index = tmp_path / "index"
    for minor, offset in OFFSETS.items():
        write_wheel(index, "offset", f"1.{minor}", "offset.py", f"OFFSET = {offset}\n")
        if offset is None:
            (index / "offset" / f"offset-1.{minor}-py3-none-any.whl").write_bytes(b"no wheel")
    write_dataset(tmp_path / "colors")
    (tmp_path / "shifted.py").write_text(MODEL)
    (tmp_path / "expected_accuracy.yaml").write_text(EXPECTED.replace("tests.colors:nearest_color", "shifted:build"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("IMAGENET_STORE", str(tmp_path / "store"))
    gate = ["--imagenet=colors", "--expected=expected_accuracy.yaml", "--models=nearest", "--workers=1"]
    search = ["--good=1.1", "--bad=1.4", f"--index-url={write_index(index)}", "--environments=environments"]
    return ["bisect", "--package=offset", *search, *gate[:2], "--json=found.json", "--", *gate[2:]]


def test_what_goes_together_leaves_the_rest_of_the_environment(tmp_path: Path) -> None:
    """Dependencies are installed with torch and torchvision, but another Pillow or numpy would be measured as well."""
    index = tmp_path / "index"
    write_wheel(index, "offset", "1.0", "offset.py")
    write_wheel(index, "pillow", "99.0", "PIL/__init__.py")
    for version, needs in (("1.0", "offset==1.0"), ("1.1", "pillow"), ("1.2", "offset==1.1")):
        write_wheel(index, "together", version, "together.py", needs=needs)
    package = Package("offset", ("together",), write_index(index))

    installed = package.install("1.0", tmp_path / "cache", tmp_path / "making")

    found = {path.name for path in installed.iterdir()} - {"__pycache__"}
    newest = "together-1.1.dist-info"  # that fits
    assert {"offset.py", "offset-1.0.dist-info", "together.py", newest} == found


@pytest.mark.slow
def test_the_first_bad_version_is_found(command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A version that cannot be installed is skipped; a killed search goes on; status 1 where nothing changed."""
    program = [sys.executable, "-m", "harness", *command]
    with subprocess.Popen(program, stdout=subprocess.PIPE, text=True, start_new_session=True) as killed:
        assert killed.stdout is not None
        assert any(line.startswith("1.4") for line in killed.stdout)
        os.killpg(killed.pid, signal.SIGKILL)
    built = (tmp_path / "built").read_text()

    assert main(command) == 0

    lines = capsys.readouterr().out.splitlines()
    assert "offset: 4 versions from 1.1 to 1.4" == lines[0]
    steps = [re.split(" {2}|:", line)[:2] for line in lines[1:] if line.startswith("1.")]
    assert [["1.1", "good"], ["1.4", "bad"], ["1.2", "good"], ["1.3", "skipped"]] == steps
    first = lines.index("first bad version: one of 1.3, 1.4, since the others were skipped; 1.2 is good")
    assert "arithmetic" in lines[first + 1]
    assert ["1.3", "1.4"] == json.loads((tmp_path / "found.json").read_text())["first_bad"]
    assert 1 == len((tmp_path / "built").read_text()) - len(built)  # 1.2: the ends were evaluated before
    assert not list((tmp_path / "environments").glob("*partial*")) + list((tmp_path / "environments").glob("runs-*"))

    # The ends are known by now, so that this evaluates nothing; rejected options and a wrong end are errors.
    expected = "expected a version of offset and a later one, among 1.0, ..., 1.3, 1.4, 1.5"
    for old, new, status, shown in (
        ("--bad=1.4", "--bad=1.2", 1, "offset 1.2 changes nothing compared with 1.1"),
        ("=colors", "=nowhere", 2, "error: the gate rejects its options: --imagenet 'nowhere': "),
        ("--bad=1.4", "--bad=2.0", 2, f"error: --good 1.1 --bad 2.0: {expected}"),
    ):
        assert status == main([argument.replace(old, new) for argument in command])
        assert any(line.startswith(shown) for line in "".join(capsys.readouterr()).splitlines())
