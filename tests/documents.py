"""The commands, examples and links in README.md, CONTRIBUTING.md and docs/."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
INDEX = ROOT / "docs" / "README.md"
PAGES = (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md")))

_FENCE = re.compile(r"^ *```.*?^ *``` *$", re.MULTILINE | re.DOTALL)
_CODE = re.compile(r"`([^`]+)`")
_LINK = re.compile(r"\]\(([^()\s]+)\)")
_HEADING = re.compile(r"^#+ +(.+?) *$", re.MULTILINE)
_PROGRAMS = ("pytest", "python", "torchrun", "imagenet-gate", "make", "nox", "pip")
_BEFORE = re.compile(r"^\s*(?:- +)?(?:run: +)?")  # in the files of CI services
_ASSIGNMENT = re.compile(r"[A-Za-z_]\w*=.*", re.DOTALL)


class Command(NamedTuple):
    """A command in a page: its words as a shell splits them, and whether the text only mentions it."""

    words: tuple[str, ...]
    mentioned: bool

    def __str__(self) -> str:
        return shlex.join(self.words)


def commands_in(text: str) -> Iterator[Command]:
    """Yield the commands in the fenced blocks and the inline code of Markdown, as far as they are of these programs."""
    for block in _FENCE.finditer(text):
        for line in block[0].replace("\\\n", " ").splitlines()[1:-1]:
            yield from (Command(words, mentioned=False) for words in _commands_of(line))
    for code in _CODE.finditer(_FENCE.sub("", text)):
        yield from (Command(words, mentioned=True) for words in _commands_of(" ".join(code[1].split())))


def python_in(text: str) -> Iterator[str]:
    """Yield the fenced blocks that are said to be Python."""
    for block in _FENCE.finditer(text):
        first, _, rest = block[0].partition("\n")
        if first.strip(" `") == "python":
            yield rest.rpartition("\n")[0] + "\n"


def links_in(text: str) -> Iterator[str]:
    """Yield the targets of links."""
    yield from _LINK.findall(_CODE.sub("", _FENCE.sub("", text)))


def anchors_in(text: str) -> set[str]:
    """Return the names by which headings are linked to, as GitHub makes them."""
    headings = _HEADING.findall(_FENCE.sub("", text))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def _commands_of(line: str) -> Iterator[tuple[str, ...]]:
    """Yield the simple commands of a line of shell; of what is no shell there are none."""
    line = _BEFORE.sub("", line)
    lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    try:
        tokens = list(lexer)
    except ValueError:  # a quote that is left open: what a program printed
        if _is_program(line.partition(" ")[0]):
            raise
        return
    for is_operator, words in groupby(tokens, key=lambda token: set(token) <= set("();<>|&")):
        if not is_operator and (found := _started(list(words))):
            yield found


def _started(words: Sequence[str]) -> tuple[str, ...]:
    """Return a command without assignments before it, without ``srun``, and without a usage line's brackets."""
    while words and _ASSIGNMENT.fullmatch(words[0]):
        words = words[1:]
    if words and words[0] == "srun":
        words = words[next((index for index, word in enumerate(words) if _is_program(word)), len(words)) :]
    if not words or not _is_program(words[0]):
        return ()
    plain = [word if word.startswith((".[", "$")) else word.removeprefix("[").removesuffix("]") for word in words]
    return tuple(word for word in plain if word not in ("...", "…"))


def _is_program(word: str) -> bool:
    return word in _PROGRAMS or re.fullmatch(r"ci/\w+", word) is not None
