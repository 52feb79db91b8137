"""README.md and docs/: commands can be parsed, links lead somewhere, examples run, figures and lists are the code's."""

from __future__ import annotations

import doctest
import importlib
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from unittest.mock import Mock, patch

import pytest

from harness import hooks
from harness.baseline.pairing import NOISE_FLOORS
from harness.baseline.plugin import _baseline_path
from harness.cli.main import _parser
from harness.dataset import SYNTHETIC, open_dataset
from harness.early import PLUGINS
from harness.errors import DatasetError, HarnessError
from harness.expected import DEFAULT_FILE, select_cases
from harness.models import geometry_of
from harness.options import Process, read_options
from harness.precision import PRECISIONS
from harness.records import evidence
from harness.records.accuracy_file import read_expected
from harness.records.evidence import Counts
from harness.verdict import judge
from tests.colors import write_dataset
from tests.documents import INDEX, PAGES, ROOT, Command, anchors_in, commands_in, links_in, python_in

README = (ROOT / "README.md").read_text()
ENTRIES = read_expected(ROOT / DEFAULT_FILE)


class Reader:
    """Reads commands as the programs would, without running them; each method returns what is wrong, or nothing."""

    def __init__(self, config: pytest.Config) -> None:
        self._pytest = config._parser  # it knows the options of all plugins

    def wrong(self, command: Command) -> str:
        """Look at a command of any program."""
        program, *words = command.words
        if program in ("python", "torchrun") and "-m" in words:
            program, *words = words[words.index("-m") + 1 :]
        elif program in ("python", "torchrun"):
            return "" if not words or (ROOT / words[0]).is_file() else "no such script"
        readers = {"pytest": self._gate, "make": self._make, "nox": self._nox, "pip": self._pip}
        if program in ("harness", "imagenet-gate"):
            return self._harness(words, command.mentioned)
        return readers[program](words) if program in readers else self._script(program, words)

    def _gate(self, words: Sequence[str]) -> str:
        words = ["1" if word == "N" else word for word in words if word != "--help"]
        try:
            given = self._pytest.parse(words)
            config = SimpleNamespace(rootpath=ROOT, getoption=lambda name: getattr(given, name))
            options = read_options(cast(Any, config), Process())
            _baseline_path(cast(Any, config))
            if given.expected is None and "$" not in given.models:
                select_cases(ENTRIES, options.models, options.settings, synthetic=options.imagenet == SYNTHETIC)
        except (pytest.UsageError, HarnessError) as error:
            return str(error)
        return ""

    def _harness(self, words: Sequence[str], mentioned: bool = False) -> str:
        if words[:1] == ["run"]:
            return self._gate(words[1:])
        # The text may mention a command without its arguments; then its help is asked for.
        if mentioned and all(word.isalpha() and word.islower() for word in words):
            words = [*words, "--help"]
        try:
            with patch("argparse.ArgumentParser._get_option_tuples", return_value=[]):  # whole names only
                options, more = _parser().parse_known_args(words)
        except SystemExit as end:
            return "not understood" if end.code else ""
        if "takes_more" in options:
            return self._gate(["-m", "imagenet", *more])
        return f"not understood: {more}" if more else ""

    def _make(self, words: Sequence[str]) -> str:
        makefile = (ROOT / "Makefile").read_text()
        variables = dict(word.split("=", 1) for word in words if "=" in word)
        targets = {word for word in words if "=" not in word and not word.startswith("-")}
        if unknown := targets.difference(re.findall(r"^([\w-]+):", makefile, re.MULTILINE)):
            return f"no targets {unknown} in the Makefile"
        if unread := [name for name in variables if not re.search(rf"\$[({{]+{name}\b", makefile)]:
            return f"the Makefile does not read {unread}"
        uses_arguments = targets & {"gate", "ranks", "throughput", "test"}
        return self._gate(variables.get("ARGS", "").split()) if uses_arguments else ""

    def _nox(self, words: Sequence[str]) -> str:
        end = words.index("--") if "--" in words else len(words)
        theirs = [word for word in words[end + 1 :] if not re.fullmatch(r"\d[^/\s]*/\d[^/\s]*", word)]
        sessions = [word for word in words[:end] if not word.startswith("-")]
        known = re.findall(r"@nox\.session\b.*?\ndef (\w+)", (ROOT / "noxfile.py").read_text(), re.DOTALL)
        if unknown := set(sessions).difference(known):
            return f"no sessions {unknown} in noxfile.py"
        return self._harness(["compare", *theirs]) if "compare" in sessions else self._gate(theirs)

    def _pip(self, words: Sequence[str]) -> str:
        extras = {extra for word in words if word.startswith(".[") for extra in word[2:-1].split(",")}
        known = re.findall(r"^(\w+) = \[", (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
        return f"no extras {missing} in pyproject.toml" if (missing := extras.difference(known)) else ""

    def _script(self, name: str, words: Sequence[str]) -> str:
        """Look at a module or a script of the project; of one of them the options are pytest's."""
        module = ROOT / name.replace(".", "/")
        if name.startswith("ci/") and os.access(ROOT / name, os.X_OK):
            return self._gate(words) if name == "ci/nightly" else ""
        return "" if module.with_suffix(".py").is_file() or module.is_dir() or name == "ruff" else "no such program"


@pytest.fixture(scope="module")
def reader(pytestconfig: pytest.Config) -> Reader:
    """A reader with the options of the running pytest."""
    return Reader(pytestconfig)


def _dead(page: Path) -> Iterator[str]:
    """Yield the links of a page that lead nowhere."""
    for link in links_in(page.read_text()):
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        if re.match(r"[a-z]+:", link):
            continue
        if not target.exists() or (anchor and anchor not in anchors_in(target.read_text())):
            yield link


by_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())


@by_page
def test_every_command_is_understood(page: Path, reader: Reader, capsys: pytest.CaptureFixture[str]) -> None:
    """By the program's own parser, or by what is in the Makefile, noxfile.py and pyproject.toml."""
    wrong = [f"{command}: {why}" for command in commands_in(page.read_text()) if (why := reader.wrong(command))]

    assert wrong == [], capsys.readouterr().err


@by_page
def test_every_link_leads_somewhere(page: Path) -> None:
    """To a file that is there, and to a heading in it."""
    assert [] == list(_dead(page))


@by_page
def test_the_examples_give_what_they_show(page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The Python examples of a page, one after another in one session, in the project's folder."""
    monkeypatch.chdir(ROOT)
    source = "\n".join(block for block in python_in(page.read_text()) if block.startswith(">>> "))
    runner = doctest.DocTestRunner(verbose=False)

    runner.run(doctest.DocTestParser().get_doctest(source, {}, page.name, str(page), 0))

    assert runner.failures == 0


def test_the_dataset_format_of_the_docs_is_read(tmp_path: Path) -> None:
    """docs/extending.md's reader finds the ids and labels that class folders have; its errors name the file."""
    folders = open_dataset(write_dataset(tmp_path / "folders"))
    [code] = [block for block in python_in((ROOT / "docs" / "extending.md").read_text()) if "labels.csv" in block]
    (tmp_path / "flat").mkdir()
    for source, target in zip(folders.sources, folders.targets, strict=True):
        path = Path(str(source)).rename(tmp_path / "flat" / Path(str(source)).name)
        with (tmp_path / "flat" / "labels.csv").open("a") as file:
            file.write(f"{path.name},{folders.classes[target]}\n")
    names: dict[str, Any] = {}
    exec(compile(code, "labeled.py", "exec"), names)

    dataset = names["read"](tmp_path / "flat")

    assert (folders.ids, folders.digest) == (dataset.ids, dataset.digest)
    assert names["read"](tmp_path / "folders") is None
    (tmp_path / "flat" / "labels.csv").write_text("00.JPEG,tench\n")
    with pytest.raises(DatasetError, match=r"labels.csv: '00.JPEG': expected a wnid, found 'tench'"):
        names["read"](tmp_path / "flat")


def test_the_index_lists_every_page() -> None:
    """docs/README.md, once each."""
    links = [link for link in links_in(INDEX.read_text()) if not link.startswith("..")]
    pages = [page for pattern in ("*.md", "*.rst") for page in INDEX.parent.rglob(pattern) if page != INDEX]

    assert sorted(page.relative_to(INDEX.parent).as_posix() for page in pages) == sorted(links)


WRONG = """
    pytest -m imagenet --imagenet DIR --limits 100
    pytest -m imagenet --imagenet DIR --models resnet19
    pytest -m imagenet --imagenet DIR --strict-drift
    srun -n 2 python -m pytest -m imagenet --no-such-option
    mapfile -t ids < <(python -m pytest -m imagenet --model all | sort)
    imagenet-gate compare OLD NEW [--max-slowdown fast]
    imagenet-gate compare OLD NEW --fail speed
    python -m benchmarks.nothing
    make gates
    make gate LIMIT=100
    nox -s gates -- 2.9.1/0.24.1
    nox -s compare -- OLD NEW --fail-on everything
    pip install -e '.[nothing]'
    ci/nothing --imagenet DIR
    ci/nightly --imagenet DIR --night 1
"""
MENTIONED = "`imagenet-gate contrast`, `imagenet-gate plan --powers 1`"


@pytest.mark.parametrize(("text", "number"), [(f"```{WRONG}```", 15), (MENTIONED, 2)], ids=["given", "mentioned"])
def test_a_wrong_command_is_found(text: str, number: int, reader: Reader) -> None:
    """One of each kind, so that the test above cannot pass without reading the pages."""
    commands = list(commands_in(text))

    assert number == len(commands)
    assert [] == [str(command) for command in commands if not reader.wrong(command)]


def test_a_dead_link_is_found(tmp_path: Path) -> None:
    """A file that is not there, and a heading that is not."""
    page = tmp_path / "page.md"
    page.write_text("# One\n[a](#one) [b](#two) [c](other.md) [d](page.md#one) [e](https://example.org/x) `[f](g)`\n")

    assert list(_dead(page)) == ["#two", "other.md"]


def docs(name: str) -> str:
    """Return a page of docs/."""
    return (ROOT / "docs" / name).read_text()


def rows(page: str, heading: str) -> list[list[str]]:
    """Return the rows of the only table of a page below a heading, without its head."""
    text = page.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    table = (line.strip("|").split("|") for line in text.splitlines() if line.startswith("|"))
    return [[cell.strip() for cell in cells] for cells in table][2:]


def test_pages_have_at_most_so_many_words() -> None:
    """What is longer is not read."""
    words = {page: len(page.read_text().split()) for page in PAGES}

    assert words[ROOT / "README.md"] <= 900
    assert sum(count for page, count in words.items() if page.parent == INDEX.parent) <= 9_000


def test_the_faults_that_are_found_are_those_measured() -> None:
    """In README.md and docs/baseline.md as in the table of docs/measurements/faults.md."""
    measured = docs("measurements/faults.md")
    faults = rows(measured, "EfficientNet-Lite0 on 500 real images")
    by_accuracy = sum(row[2].startswith("fails") for row in faults)
    by_baseline = [sum(row[5] == outcome for row in faults) for outcome in ("failed", "warning")]
    found = [len(faults), by_accuracy, *by_baseline]
    said = [
        r"(\d+) faults: the accuracy check catches (\d+); the comparison catches (\d+) and only warns about (\d+);",
        r"(\d+) planted faults\]\S*, the accuracy check catches (\d+), the comparison with a baseline (\d+)\.",
        r"(\d+) planted faults\]\S*, the accuracy check catches (\d+), the comparison (\d+)\.",
    ]
    for pattern, page in zip(said, (measured, README, docs("baseline.md")), strict=True):
        [numbers] = re.findall(pattern, " ".join(page.split()))
        assert found[: len(numbers)] == list(map(int, numbers))


def test_every_option_hook_and_stage_has_a_row() -> None:
    """In tables that have no others."""
    parser = Mock()
    for plugin in map(importlib.import_module, PLUGINS):
        if hasattr(plugin, "pytest_addoption"):
            plugin.pytest_addoption(parser)
    options = [call.args[0] for call in parser.getgroup().addoption.call_args_list]
    declared = [name for name in vars(hooks) if name.startswith("pytest_imagenet_")]
    stages = [value for name, value in vars(evidence).items() if name.isupper() and isinstance(value, str)]

    assert sorted(options) == sorted(re.findall(r"^\| `(--[\w-]+)", docs("options.md"), re.MULTILINE))
    assert sorted(declared) == sorted(row[0].strip("`") for row in rows(docs("extending.md"), "Hooks"))
    assert sorted(stages) == sorted(row[0].strip("`") for row in rows(docs("baseline.md"), "The diagnosis"))


def test_the_tolerances_are_those_of_the_file() -> None:
    """Of each precision, on ImageNet and on the synthetic dataset, in docs/precision.md; each has a noise floor."""
    said = {name: row[1:] for row in rows(docs("precision.md"), "Tolerance") for name in row[0].split(", ")}

    for name in PRECISIONS:
        found = [
            {float(expected.tolerance) for entry in ENTRIES if (expected := entry.expected_on(dataset, name))}
            for dataset in ("imagenet-1k", "synthetic")
        ]
        assert [{float(cell)} for cell in said[name]] == found


def test_the_noise_floors_are_those_that_were_measured() -> None:
    """In docs/measurements/tolerance.md, of each precision."""
    table = rows(docs("measurements/tolerance.md"), "The noise floors")
    measured = [row[:4] for row in table if row[0] in PRECISIONS]

    floors = [(name, floor.median, floor.largest, 100 * floor.changed) for name, floor in NOISE_FLOORS.items()]
    assert floors == [(name, *(float(value.rstrip("%")) for value in values)) for name, *values in measured]
    assert list(PRECISIONS) == list(NOISE_FLOORS)


def test_the_failure_of_densenet201() -> None:
    """In docs/reading_a_fail.md: what is printed for the counts that timm measured."""
    [entry] = [entry for entry in ENTRIES if entry.spec.model == "densenet201"]

    verdict = judge(Counts(50_000, 38_642, 46_740), entry.expected_on("imagenet-1k"), "", None)

    assert f"\ndensenet201: {verdict}\n" in docs("reading_a_fail.md")


def test_the_size_of_the_store() -> None:
    """In README.md and docs/data.md: of one geometry of 224 x 224, and of all that the models need."""
    geometries = {
        geometry_of(entry.spec) for entry in ENTRIES if entry.spec.builder is None and "imagenet-1k" in entry.expected
    }
    size = sum(50_000 * geometry.crop**2 * 3 for geometry in geometries) / 1e9

    for text in (README, docs("data.md")):
        assert f"{50_000 * 224**2 * 3 / 1e9:.1f} GB" in text
        assert f"{size:.0f} GB" in text
        assert f"{len(geometries)} geometries" in " ".join(text.split())


def test_the_reading_order_names_every_file_of_the_core() -> None:
    """In CONTRIBUTING.md; __init__ and errors need no reading."""
    page = (ROOT / "CONTRIBUTING.md").read_text().partition("\n## The code, in reading order\n")[2]
    named = set(re.findall(r"`(\w+\.py)`", page.partition("\n## ")[0]))

    core = {path.name for path in (ROOT / "harness").glob("*.py")}
    assert core - named == {"__init__.py", "__main__.py", "errors.py"}
