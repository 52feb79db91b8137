"""Decodes every image of a dataset, to see what each is and whether it can be decoded."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from concurrent.futures.process import BrokenProcessPool
from typing import NamedTuple

from harness.decoding.decoders import UNREADABLE, reason_of
from harness.decoding.workers import process_pool
from harness.errors import DatasetError
from harness.formats.sources import Source, open_bounded

_CHUNK = 64  # images that a worker takes at once


class Found(NamedTuple):
    """What an image file is; fields may be empty if it cannot be decoded."""

    format: str = ""  # such as ``JPEG``, by content
    mode: str = ""  # Pillow's, such as ``RGB``, ``L`` or ``CMYK``
    size: tuple[int, int] = (0, 0)  # width and height in pixels, as stored
    digest: str = ""  # sha256 of the bytes
    reason: str = ""  # why it cannot be decoded; empty if it can


def survey(sources: Sequence[Source], workers: int, progress: Callable[[int, int], None]) -> list[Found]:
    """Decode every image and return what each is, in order; a worker that dies is a DatasetError."""
    found: list[Found] = []
    with process_pool(min(workers, -(-len(sources) // _CHUNK))) as pool:
        try:
            for facts in pool.map(examine, sources, chunksize=_CHUNK):
                found.append(facts)
                progress(len(found), len(sources))
        except BrokenProcessPool as error:
            raise DatasetError(f"a decoding process died after {len(found):,} of {len(sources):,} images") from error
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
    return found


def examine(source: Source) -> Found:
    """Return what an image is."""
    facts = Found()
    try:
        data = source.read()
        facts = facts._replace(digest=hashlib.sha256(data).hexdigest())
        with open_bounded(data) as image:
            facts = facts._replace(format=image.format or "", mode=image.mode, size=image.size)
            image.load()
    except UNREADABLE as error:
        return facts._replace(reason=reason_of(error))
    return facts
