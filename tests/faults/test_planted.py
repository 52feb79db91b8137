"""The faults can be planted; ``python -m tests.faults`` runs the gate with each of them, which takes minutes."""

from __future__ import annotations

import ast
import shutil
from pathlib import Path

import pytest

from tests.faults.planted import FAULTS, REFUSED, Fault
from tests.faults.sound import SOUND

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_fault_can_be_planted(fault: Fault, tmp_path: Path) -> None:
    """The code that it replaces stands there once, and what comes of it is Python, and other Python."""
    (tmp_path / fault.file).parent.mkdir(parents=True)
    shutil.copy(ROOT / fault.file, tmp_path / fault.file)

    fault.plant(tmp_path)

    before, after = (ast.dump(ast.parse((root / fault.file).read_text())) for root in (ROOT, tmp_path))
    assert before != after


def test_a_fault_that_cannot_be_planted_is_told(tmp_path: Path) -> None:
    """When the code has moved on, rather than run without a fault and be called not caught."""
    (tmp_path / "a.py").write_text("x = 1\nx = 1\n")

    with pytest.raises(ValueError, match=r"twice: expected once in a.py, found 2: x = 1"):
        Fault("twice", "a.py", "x = 1", "x = 2", REFUSED).plant(tmp_path)


def test_every_fault_and_every_sound_run_has_a_name_of_its_own() -> None:
    """Their runs lie in folders by name."""
    for named in (FAULTS, SOUND):
        names = [each.name for each in named]
        assert len(set(names)) == len(names)
