"""Progress of long work: a bar on a terminal, a plain line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import NoReturn

from tqdm import tqdm

_LINE_EVERY_SECONDS = 10.0


def show_progress(
    work: str, ensure_newline: Callable[[], None], write_line: Callable[[str], None]
) -> Callable[[int, int], None]:
    """Return what shows the number of images done of all, each time it is called.

    Args:
        work: what is being done to them.
        ensure_newline: ends a line that something else has begun.
        write_line: writes a line where there is no terminal.
    """
    bar: tqdm[NoReturn] | None = None
    last_line = 0.0

    def show(done: int, images: int) -> None:
        nonlocal bar, last_line
        if sys.stderr.isatty():
            if bar is None:
                ensure_newline()
                bar = tqdm(total=images, desc=work, unit=" images", leave=False, file=sys.stderr)
            assert bar is not None
            bar.update(done - bar.n)
            if done == images:
                bar.close()
                bar = None
        elif done in (0, images) or time.monotonic() - last_line >= _LINE_EVERY_SECONDS:
            last_line = time.monotonic()
            ensure_newline()
            write_line(f"{work}: {done:,} of {images:,} images")

    return show


def progress_on_stderr(work: str) -> Callable[[int, int], None]:
    """Return the same for a command that prints its results to stdout."""

    def write_line(line: str) -> None:
        sys.stderr.write(f"{line}\n")

    return show_progress(work, lambda: None, write_line)
