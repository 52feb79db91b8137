"""Looks at every image of a split: what it is, and whether it can be decoded at all."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Sequence
from concurrent.futures import as_completed
from concurrent.futures.process import BrokenProcessPool
from typing import NamedTuple

from PIL import Image

from harness.data.decode import UNREADABLE, reason_of
from harness.data.source import Source
from harness.data.workers import process_pool
from harness.errors import SplitError

_CHUNK = 64


class Found(NamedTuple):
    """What an image file is.

    Attributes:
        format: such as ``JPEG``, by content.
        mode: Pillow's, such as ``RGB``, ``L`` or ``CMYK``.
        size: width and height in pixels, as stored.
        digest: sha256 of the bytes.
        reason: why it cannot be decoded; empty if it can. The rest may then be empty.
    """

    format: str = ""
    mode: str = ""
    size: tuple[int, int] = (0, 0)
    digest: str = ""
    reason: str = ""


def survey(sources: Sequence[Source], workers: int, progress: Callable[[int, int], None]) -> list[Found]:
    """Decode every image and return what each is, in order.

    Raises:
        SplitError: a worker died.
    """
    found: dict[int, list[Found]] = {}
    chunks = {first: sources[first : first + _CHUNK] for first in range(0, len(sources), _CHUNK)}
    done = 0
    with process_pool(min(workers, len(chunks))) as pool:
        pending = {pool.submit(examine, chunk): first for first, chunk in chunks.items()}
        try:
            for future in as_completed(pending):
                found[pending[future]] = future.result()
                done += len(chunks[pending[future]])
                progress(done, len(sources))
        except BrokenProcessPool as error:
            raise SplitError(f"a process that decodes died after {done:,} of {len(sources):,} images") from error
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
    return [image for first in sorted(found) for image in found[first]]


def examine(sources: Sequence[Source]) -> list[Found]:
    """Return what each image is."""
    return [_examine(source) for source in sources]


def _examine(source: Source) -> Found:
    found = Found()
    try:
        data = source.read()
        found = found._replace(digest=hashlib.sha256(data).hexdigest())
        with Image.open(io.BytesIO(data)) as image:
            found = found._replace(format=image.format or "", mode=image.mode, size=image.size)
            image.load()
    except UNREADABLE as error:
        return found._replace(reason=reason_of(error))
    return found
