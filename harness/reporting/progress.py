"""Progress of long work: a bar on a terminal, a plain line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import NoReturn

from tqdm import tqdm

_LINE_EVERY_SECONDS = 10.0


def decoding_progress(
    ensure_newline: Callable[[], None], write_line: Callable[[str], None]
) -> Callable[[int, int], None]:
    """Return what shows the number of images done of all, each time it is called.

    Args:
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
                bar = tqdm(total=images, desc="decoding", unit=" images", leave=False, file=sys.stderr)
            assert bar is not None
            bar.update(done - bar.n)
            if done == images:
                bar.close()
        elif done in (0, images) or time.monotonic() - last_line >= _LINE_EVERY_SECONDS:
            last_line = time.monotonic()
            ensure_newline()
            write_line(f"decoding: {done:,} of {images:,} images")

    return show
