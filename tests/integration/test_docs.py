"""README.md and docs/: commands can be parsed, links lead somewhere, examples run, every option has a row."""

from __future__ import annotations

import argparse
import ast
import doctest
import importlib
import os
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from harness.baseline.plugin import _baseline_path
from harness.cli.main import _parser
from harness.dataset import SYNTHETIC, open_dataset
from harness.early import PLUGINS
from harness.errors import DatasetError, HarnessError
from harness.expected import DEFAULT_FILE, select_cases
from harness.options import Process, read_options
from harness.records.accuracy_file import read_expected
from tests.colours import write_dataset
from tests.documents import INDEX, PAGES, ROOT, Command, anchors_in, commands_in, links_in, python_in

_PAIR = re.compile(r"\d[^/\s]*/\d[^/\s]*")
# A placeholder for a number, and a number.
_STANDS_FOR = {"N": "1"}


class Reader:
    """Reads commands as the programs would, without running them."""

    def __init__(self, config: pytest.Config) -> None:
        self._pytest = config._parser  # it knows the options of all plugins
        self._entries = read_expected(ROOT / DEFAULT_FILE)
        self._makefile = (ROOT / "Makefile").read_text()
        self._sessions = {
            node.name
            for node in ast.parse((ROOT / "noxfile.py").read_text()).body
            if isinstance(node, ast.FunctionDef) and any("nox.session" in ast.unparse(d) for d in node.decorator_list)
        }

    def wrong(self, command: Command) -> str:
        """Return what is wrong with the command; nothing if it is understood."""
        program, *words = command.words
        if program == "pytest":
            return self._pytest_line(words)
        if program in ("python", "torchrun"):
            return self._python(words, command.mentioned)
        if program == "imagenet-gate":
            return self._harness(words, command.mentioned)
        if program == "make":
            return self._make(words)
        if program == "nox":
            return self._nox(words)
        return self._pip(words) if program == "pip" else self._script(program, words)

    def _python(self, words: Sequence[str], mentioned: bool) -> str:
        if "-m" not in words:
            return "" if not words or (ROOT / words[0]).is_file() else "no such script"
        module, *rest = words[words.index("-m") + 1 :]
        if module == "pytest":
            return self._pytest_line(rest)
        if module == "harness":
            return self._harness(rest, mentioned)
        path = ROOT / module.replace(".", "/")
        return "" if path.with_suffix(".py").is_file() or path.is_dir() or module in ("pip", "ruff") else "no module"

    def _pytest_line(self, words: Sequence[str]) -> str:
        words = [_STANDS_FOR.get(word, word) for word in words if word != "--help"]
        try:
            given = self._pytest.parse(words)
            config = SimpleNamespace(rootpath=ROOT, getoption=lambda name: getattr(given, name))
            options = read_options(cast(Any, config), Process())
            _baseline_path(cast(Any, config))
            if given.expected is None and "$" not in given.models:
                select_cases(self._entries, options.models, options.settings, synthetic=options.imagenet == SYNTHETIC)
        except (pytest.UsageError, HarnessError) as error:
            return str(error)
        return ""

    def _harness(self, words: Sequence[str], mentioned: bool = False) -> str:
        if words[:1] == ["run"]:
            return self._pytest_line(words[1:])
        # The text may mention a command without its arguments; then its help is asked for.
        if mentioned and all(word.isalpha() and word.islower() for word in words):
            words = [*words, "--help"]
        parser = _parser()
        _forbid_abbreviations(parser)
        try:
            options, more = parser.parse_known_args(words)
        except SystemExit as end:
            return "not understood" if end.code else ""
        if "takes_more" in options:
            return self._pytest_line(["-m", "imagenet", *more])
        return f"not understood: {more}" if more else ""

    def _make(self, words: Sequence[str]) -> str:
        variables = dict(word.split("=", 1) for word in words if "=" in word)
        targets = [word for word in words if "=" not in word and not word.startswith("-")]
        for target in targets:
            if not re.search(rf"^{re.escape(target)}:", self._makefile, re.MULTILINE):
                return f"no target {target!r} in the Makefile"
        for name in variables:
            if not any(use in self._makefile for use in (f"$({name})", f"$({name}),", f"$${{{name}")):
                return f"the Makefile does not read {name}"
        if set(targets) & {"gate", "ranks", "throughput", "test"}:
            return self._pytest_line(variables.get("ARGS", "").split())
        return ""

    def _nox(self, words: Sequence[str]) -> str:
        end = words.index("--") if "--" in words else len(words)
        ours, theirs = words[:end], [word for word in words[end + 1 :] if not _PAIR.fullmatch(word)]
        sessions = [word for word in ours if not word.startswith("-")]
        if unknown := [session for session in sessions if session not in self._sessions]:
            return f"no session {unknown[0]!r} in noxfile.py"
        return self._harness(["compare", *theirs]) if "compare" in sessions else self._pytest_line(theirs)

    def _pip(self, words: Sequence[str]) -> str:
        project = (ROOT / "pyproject.toml").read_text()
        extras = [extra for word in words if word.startswith(".[") for extra in word[2:-1].split(",")]
        missing = [extra for extra in extras if not re.search(rf"^{extra} = \[", project, re.MULTILINE)]
        return f"no extra {missing[0]!r} in pyproject.toml" if missing else ""

    def _script(self, program: str, words: Sequence[str]) -> str:
        path = ROOT / program
        if not (path.is_file() and os.access(path, os.X_OK)):
            return "no such program"
        # Its options are pytest's; the other script has none.
        return self._pytest_line(words) if program == "ci/nightly" else ""


def _forbid_abbreviations(parser: argparse.ArgumentParser) -> None:
    """Let options be known by their whole names only, also those of the commands."""
    parser.allow_abbrev = False
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                _forbid_abbreviations(command)


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
    exec(compile(code, "labelled.py", "exec"), names)

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


def test_every_option_has_a_row() -> None:
    """In docs/options.md, which has no others."""
    declared: list[str] = []
    add: Callable[..., None] = lambda name, **_: declared.append(name)  # noqa: E731
    parser = SimpleNamespace(getgroup=lambda *_: SimpleNamespace(addoption=add))
    for plugin in map(importlib.import_module, PLUGINS):
        if hasattr(plugin, "pytest_addoption"):
            plugin.pytest_addoption(parser)

    rows = re.findall(r"^\| `(--[\w-]+)", (ROOT / "docs" / "options.md").read_text(), re.MULTILINE)

    assert sorted(declared) == sorted(rows)


@pytest.mark.parametrize(
    "line",
    [
        "pytest -m imagenet --imagenet DIR --limits 100",
        "pytest -m imagenet --imagenet DIR --limit few",
        "pytest -m imagenet --imagenet DIR --decoder opencv",
        "pytest -m imagenet --imagenet DIR --precision fp8",
        "pytest -m imagenet --imagenet DIR --models resnet19",
        "pytest -m imagenet --imagenet DIR --strict-drift",
        "srun -n 2 python -m pytest -m imagenet --no-such-option",
        "torchrun --nproc-per-node 2 -m pytest -m imagenet --ranks 2",
        "mapfile -t ids < <(python -m pytest -m imagenet --model all | sort)",
        "imagenet-gate contrast OLD NEW",
        "imagenet-gate run --imagenet DIR --limits 100",
        "python -m harness contrast OLD NEW",
        "imagenet-gate compare",
        "imagenet-gate compare OLD NEW [--max-slowdown fast]",
        "imagenet-gate expected",
        "imagenet-gate store prune --older 30d",
        "python -m benchmarks.nothing",
        "make gates",
        "make gate LIMIT=100",
        "make gate ARGS='--model alexnet'",
        "nox -s gates -- 2.9.1/0.24.1",
        "nox -s gate -- 2.9.1/0.24.1 --model alexnet",
        "nox -s compare -- OLD NEW --fail-on everything",
        "pip install -e '.[nothing]'",
        "ci/nothing --imagenet DIR",
        "ci/nightly --imagenet DIR --night 1",
        "- run: ci/nothing",
    ],
)
def test_a_wrong_command_is_found(line: str, reader: Reader) -> None:
    """One of each kind, so that the test above cannot pass without reading the pages."""
    [command] = commands_in(f"```\n{line}\n```")

    assert reader.wrong(command)


def test_a_mention_of_an_unknown_command_is_found(reader: Reader) -> None:
    """A command that the text only mentions needs no arguments, but must exist."""
    known, unknown, wrong = commands_in(
        "`imagenet-gate\ncompare`, `imagenet-gate contrast`, `imagenet-gate plan --powers 1`, `ResNet18`"
    )

    assert not reader.wrong(known)
    assert reader.wrong(unknown)
    assert reader.wrong(wrong)


def test_a_dead_link_is_found(tmp_path: Path) -> None:
    """A file that is not there, and a heading that is not."""
    page = tmp_path / "page.md"
    page.write_text("# One\n[a](#one) [b](#two) [c](other.md) [d](page.md#one) [e](https://example.org/x) `[f](g)`\n")

    assert list(_dead(page)) == ["#two", "other.md"]
