"""Tests of imagenet-gate bisect, with an index of made-up versions in a folder."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from harness.bisect.versions import Package
from harness.cli.main import main
from tests.colours import EXPECTED, write_dataset

# What the package of version 1.N gives to the model: 1.3 cannot be installed, and from 1.4 on all is shifted.
OFFSETS = {0: 0.0, 1: 0.0, 2: 0.0, 3: None, 4: 0.5, 5: 0.5}
MODEL = """
import pathlib
import torch
from offset import OFFSET
from tests.colours import NearestColour

def build():
    with pathlib.Path("built").open("a") as built:
        built.write("x")
    model = NearestColour()
    model.register_forward_hook(lambda module, images, logits: logits + OFFSET * torch.arange(1000) / 1000)
    return model
"""


def write_wheel(folder: Path, name: str, version: str, module: str, content: str, needs: str = "") -> None:
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
    write_dataset(tmp_path / "colours")
    (tmp_path / "shifted.py").write_text(MODEL)
    (tmp_path / "expected_accuracy.yaml").write_text(EXPECTED.replace("tests.colours:nearest_colour", "shifted:build"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("IMAGENET_STORE", str(tmp_path / "store"))
    gate = ["--imagenet=colours", "--expected=expected_accuracy.yaml", "--models=nearest", "--workers=1"]
    search = ["--good=1.1", "--bad=1.4", f"--index-url={write_index(index)}", "--environments=environments"]
    return ["bisect", "--package=offset", *search, *gate[:2], "--json=found.json", "--", *gate[2:]]


def test_what_goes_together_leaves_the_rest_of_the_environment(tmp_path: Path) -> None:
    """Dependencies are installed with torch and torchvision, but another Pillow or numpy would be measured as well."""
    index = tmp_path / "index"
    write_wheel(index, "offset", "1.0", "offset.py", "")
    write_wheel(index, "together", "1.0", "together.py", "", "offset==1.0")
    write_wheel(index, "together", "1.1", "together.py", "", "pillow")
    write_wheel(index, "pillow", "99.0", "PIL/__init__.py", "")
    write_wheel(index, "together", "1.2", "together.py", "", "offset==1.1")

    package = Package("offset", ("together",), write_index(index))
    installed = package.install("1.0", tmp_path / "cache", tmp_path / "making")

    found = {path.name for path in installed.iterdir()} - {"__pycache__"}
    # The newest companion that fits.
    assert {"offset.py", "offset-1.0.dist-info", "together.py", "together-1.1.dist-info"} == found


@pytest.mark.slow
def test_the_first_version_that_changes_logits_is_found(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
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
    assert [("1.1", "good"), ("1.4", "bad"), ("1.2", "good"), ("1.3", "skipped")] == [
        tuple(line.split("  ")[:2]) if ":" not in line else tuple(line.partition(":")[0].split("  "))
        for line in lines[1:]
        if line.startswith("1.")
    ]
    [first] = [line for line in lines if line.startswith("first bad version")]
    assert "first bad version: one of 1.3, 1.4, since the others were skipped; 1.2 is good" == first
    assert "arithmetic" in lines[lines.index(first) + 1]
    assert ["1.3", "1.4"] == json.loads((tmp_path / "found.json").read_text())["first_bad"]
    assert 1 == len((tmp_path / "built").read_text()) - len(built)  # 1.2: the ends were evaluated before
    assert not list((tmp_path / "environments").glob("*partial*")) + list((tmp_path / "environments").glob("runs-*"))

    # The ends are known by now, so that this evaluates nothing.
    assert main([argument.replace("--bad=1.4", "--bad=1.2") for argument in command]) == 1
    assert capsys.readouterr().out.splitlines()[-1] == "offset 1.2 changes nothing compared with 1.1"

    # A gate that does not start and a wrong end are errors, the latter names what there is.
    assert main([argument.replace("--imagenet=colours", "--imagenet=nowhere") for argument in command]) == 2
    *_, refused = capsys.readouterr().err.splitlines()
    assert refused.startswith("error: the gate refuses its options: ")
    assert "nowhere" in refused
    assert main([argument.replace("--bad=1.4", "--bad=2.0") for argument in command]) == 2
    assert capsys.readouterr().err == (
        "error: --good 1.1 --bad 2.0: expected a version of offset and a later one, among 1.0, ..., 1.3, 1.4, 1.5\n"
    )
