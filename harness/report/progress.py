"""Progress of long work by tqdm: a bar on a terminal, elsewhere lines; nothing for work that ends soon."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import dataclass
from typing import NoReturn

from tqdm import tqdm

from harness.records.evidence import wrapped

_BAR_AFTER_SECONDS = 1.0
_BAR_EVERY_SECONDS = 0.2
_LINE_EVERY_SECONDS = 10.0
_BAR = "{desc} {percentage:3.0f}%|{bar}| {n:,}/{total:,}, {rate_noinv_fmt}, {remaining} left{postfix}"
_LINE = "{desc}: {n:,} of {total:,} images, {rate_noinv_fmt}, {remaining} left{postfix}"
_BAR_COLUMNS = 46  # without its title and the numbers of images


def is_terminal() -> bool:
    """Return whether stderr can show a bar; CI keeps all output, though some systems give it a terminal."""
    return sys.stderr.isatty() and not os.environ.get("CI")


@dataclass
class Console:
    """The file that tqdm writes to: a bar on a terminal, else lines; ``uncaptured`` lets output to stderr through."""

    terminal: bool
    write_line: Callable[[str], object] = lambda line: sys.stderr.write(f"{line}\n")
    ensure_newline: Callable[[], None] = lambda: None
    uncaptured: Callable[[], AbstractContextManager[object]] = nullcontext

    def write(self, text: str) -> None:
        """Write what tqdm writes: carriage returns and, after them, the state."""
        with self.uncaptured():
            if self.terminal:
                if text.strip():
                    self.ensure_newline()
                sys.stderr.write(text)
                sys.stderr.flush()
            elif text.strip():
                self.write_line(wrapped(text.strip()))


class Progress:
    """How many images of a phase are done; called with that number and the total."""

    def __init__(self, phase: str, console: Console, subject: str = "") -> None:
        self._phase, self._console, self._subject = phase, console, subject
        self._bar: tqdm[NoReturn] | None = None

    def __call__(self, done: int, images: int) -> None:
        """Show how many images are done, if an update is due; a lower number starts it again, the total ends it."""
        if done == images or (self._bar is not None and done < self._bar.n):
            self.close()
        if done == images:
            return
        if self._bar is None:
            self._bar = self._open(done, images)
        self._bar.update(done - self._bar.n)

    def close(self) -> None:
        """Remove the bar."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def _open(self, done: int, images: int) -> tqdm[NoReturn]:
        terminal = self._console.terminal
        with self._console.uncaptured() if terminal else nullcontext():
            columns, lines = shutil.get_terminal_size()
        room = max(columns - len(self._phase) - _BAR_COLUMNS - 2 * len(f"{images:,}"), 0)
        subject = self._subject[:room] if terminal else self._subject
        return tqdm(
            total=images,
            initial=done,
            desc=f"{subject}: {self._phase}" if subject else self._phase,
            unit=" images",
            bar_format=_BAR if terminal else _LINE,
            ncols=columns - 1 if terminal else None,
            nrows=lines,
            delay=_BAR_AFTER_SECONDS if terminal else _LINE_EVERY_SECONDS,
            mininterval=_BAR_EVERY_SECONDS if terminal else _LINE_EVERY_SECONDS,
            miniters=1,
            leave=False,
            file=self._console,
        )


def progress_on_stderr(work: str) -> closing[Progress]:
    """Return a context with the progress of a command, which prints its results to stdout."""
    return closing(Progress(work, Console(is_terminal())))
