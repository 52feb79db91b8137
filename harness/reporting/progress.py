"""Progress of long work: a bar on a terminal, plain lines elsewhere; nothing is shown of work that is over soon."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections import deque
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from types import TracebackType
from typing import NoReturn

from tqdm import tqdm

_BAR_AFTER_SECONDS = 1.0
_BAR_EVERY_SECONDS = 0.2
_LINE_EVERY_SECONDS = 10.0
# Images/s are those of the last one or two of these: a slow start, as of a model that is compiled, is soon forgotten.
_PACE_SECONDS = 10.0


@dataclass(frozen=True)
class Console:
    """Where progress is shown.

    Attributes:
        write_line: writes a line where there is no terminal.
        ensure_newline: ends a line that something else has begun, before a bar is drawn below it.
        uncaptured: lets through what is written meanwhile.
        terminal: whether stderr can show a bar.
    """

    write_line: Callable[[str], None]
    ensure_newline: Callable[[], None] = lambda: None
    uncaptured: Callable[[], AbstractContextManager[object]] = nullcontext
    terminal: bool = False


NOWHERE = Console(lambda _: None)


def is_terminal() -> bool:
    """Tell whether stderr can show a bar; CI keeps what is written, though some give it a terminal."""
    return sys.stderr.isatty() and not os.environ.get("CI")


class Work:
    """Something that is done to images, called with how many are done; a context manager that leaves no bar behind."""

    def __init__(self, title: str, console: Console, of: str = "") -> None:
        """Begin with the first call.

        Args:
            title: what is done.
            console: where to show it.
            of: for whose sake, of which as much is shown as there is room for.
        """
        self._title = title
        self._console = console
        self._of = of
        self._bar: tqdm[NoReturn] | None = None
        self._marks: deque[tuple[float, int]] = deque(maxlen=2)
        self._done = 0
        self._due = 0.0

    def __enter__(self) -> Work:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __call__(self, done: int, images: int, beside: str = "") -> None:
        """Show that ``done`` of all images are done, if that is due; fewer than before are a new beginning.

        Args:
            done: number of images.
            images: number of all; with the last one the bar goes.
            beside: more to be said.
        """
        now = time.monotonic()
        if not self._marks or done < self._done:
            self._marks.clear()
            self._marks.append((now, done))
            self._due = now + (_BAR_AFTER_SECONDS if self._console.terminal else _LINE_EVERY_SECONDS)
        self._done = done
        if done == images:
            self.close()
        elif now >= self._due:
            self._due = now + (_BAR_EVERY_SECONDS if self._console.terminal else _LINE_EVERY_SECONDS)
            text = _joined(", ", self._pace(now, done, images), beside)
            with self._console.uncaptured():
                (self._draw if self._console.terminal else self._write)(done, images, text)

    def close(self) -> None:
        """Remove the bar; the next call is a new beginning."""
        self._marks.clear()
        if self._bar is not None:
            with self._console.uncaptured():
                self._bar.close()
            self._bar = None

    def _pace(self, now: float, done: int, images: int) -> str:
        since, before = self._marks[0]
        if now - self._marks[-1][0] >= _PACE_SECONDS:
            self._marks.append((now, done))
        return pace(done - before, now - since, images - done) if done > before else ""

    def _draw(self, done: int, images: int, text: str) -> None:
        if self._bar is None:
            self._bar = self._bar_of(done, images, text)
        else:
            self._bar.n = done
            self._bar.set_postfix_str(text)

    def _bar_of(self, done: int, images: int, text: str) -> tqdm[NoReturn]:
        widest = f": {self._title} 100%|#| {images:,}/{images:,}, 9,999 images/s, 99 s left"
        columns, lines = shutil.get_terminal_size()  # never 0, as tqdm finds it where nobody has set it
        self._console.ensure_newline()
        return tqdm(
            total=images,
            initial=done,
            desc=_joined(": ", self._of[: max(columns - 1 - len(widest), 0)], self._title),
            postfix=text,
            bar_format="{desc} {percentage:3.0f}%|{bar}| {n:,}/{total:,}{postfix}",
            ncols=columns - 1,
            nrows=lines,
            leave=False,
            file=sys.stderr,
        )

    def _write(self, done: int, images: int, text: str) -> None:
        count = f"{done:,} of {images:,} images"
        self._console.write_line(_joined(": ", self._of, self._title, _joined(", ", count, text)))


class CaseProgress:
    """How far a case is; a context manager that leaves no bar behind.

    One thing is shown at a time: where images are still being decoded while the model runs, how many there are is told
    beside its progress.
    """

    def __init__(self, case: str, console: Console) -> None:
        """Name the case, and where to show it."""
        self._decoding = Work("decoding", console, case)
        self._forward = Work("forward", console, case)
        self._forward_has_begun = False
        self._decoded = 0

    def __enter__(self) -> CaseProgress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._decoding.close()
        self._forward.close()

    def decoding(self, done: int, images: int) -> None:
        """Show that so many of all images are decoded."""
        self._decoded = done
        if not self._forward_has_begun:
            self._decoding(done, images)

    def forward(self, done: int, images: int) -> None:
        """Show that the model was given so many of all images."""
        self._forward_has_begun = True
        self._decoding.close()
        # It is told only while the model waits for it; what is older than the model's own progress says nothing.
        self._forward(done, images, f"{self._decoded:,} decoded" if done < self._decoded < images else "")


def progress_on_stderr(work: str) -> Work:
    """Return what shows the work of a command, which prints its results to stdout."""

    def write_line(line: str) -> None:
        sys.stderr.write(f"{line}\n")

    return Work(work, Console(write_line, terminal=is_terminal()))


def _joined(separator: str, *parts: str) -> str:
    """Join those that are not empty."""
    return separator.join(filter(None, parts))


def pace(images: int, seconds: float, left: int) -> str:
    """Return images/s and the time that those that are left take at that.

    >>> pace(18_120, 10.0, 33_000)
    '1,812 images/s, 18 s left'
    >>> pace(12, 10.0, 5_000)
    '1.2 images/s, 69 min left'
    """
    rate = images / seconds
    remaining = left / rate
    if remaining < 100:
        time_left = f"{remaining:.0f} s"
    elif remaining < 100 * 60:
        time_left = f"{remaining / 60:.0f} min"
    else:
        time_left = f"{remaining / 3600:.1f} h"
    return f"{rate:,.{0 if rate >= 10 else 1}f} images/s, {time_left} left"
