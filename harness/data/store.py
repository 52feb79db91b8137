"""Where decoded splits are kept across runs: a folder with a folder for each split, geometry, decoder and versions."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from harness.data.decode import versions
from harness.data.decoded import DecodedSplit, Progress
from harness.data.decoder import Decoder
from harness.data.files import write_whole
from harness.data.inventory import ABOUT, IDS
from harness.data.preset import Geometry
from harness.data.split import Split
from harness.errors import StoreError

_FORMAT = 1


class Store:
    """The decoded forms of one split; a context manager. Without a folder nothing outlives it."""

    def __init__(self, split: Split, decoder: Decoder, folder: Path | None, workers: int) -> None:
        """Name what is to be decoded; nothing is yet.

        Args:
            split: the images.
            decoder: what decodes them.
            folder: keeps them; None for a temporary folder that keeps one geometry at a time.
            workers: decoding processes.
        """
        self._split = split
        self._decoder = decoder
        self._folder = folder
        self._workers = workers
        self._decoded: DecodedSplit | None = None
        self._scratch: tempfile.TemporaryDirectory[str] | None = None

    def __enter__(self) -> Store:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    def decoded(self, geometry: Geometry, progress: Progress) -> DecodedSplit:
        """Return the split's pixels in this geometry, which is the only one that is open.

        Without a folder the pixels of the geometry before are dropped: 114 models have 27 geometries, 493 GB for
        50,000 images.
        """
        if self._decoded is None or self._decoded.geometry != geometry:
            self._close()
            self._decoded = DecodedSplit(
                self._split,
                geometry,
                self._decoder,
                self._place(geometry),
                workers=self._workers,
                progress=progress,
                scratch=self._folder is None,
            )
        self._decoded.progress = progress
        return self._decoded

    def _place(self, geometry: Geometry) -> Path:
        """Return the folder of this split, geometry and decoder, which says what it is for."""
        if self._folder is None:
            self._scratch = tempfile.TemporaryDirectory(prefix="imagenet-gate-", ignore_cleanup_errors=True)
            return Path(self._scratch.name) / "pixels"
        about = describe(self._split, geometry, self._decoder)
        folder = self._folder / key_of(about)
        try:
            if not _is_described(folder):
                folder.mkdir(parents=True, exist_ok=True)
                whole = self._split.whole or self._split
                write_whole(folder / IDS, json.dumps(whole.ids, indent=0).encode())
                write_whole(folder / ABOUT, (json.dumps(about, indent=2) + "\n").encode())
            with suppress(OSError):  # a store that is not ours, or on a read-only file system, can be read
                os.utime(folder / ABOUT)  # the time of the last use, by which stores are pruned
        except OSError as error:
            raise StoreError(
                f"decoded images cannot be kept in {self._folder}: {error.strerror}: {error.filename}; "
                "point --store at a folder that can be written, or give --no-store"
            ) from error
        return folder

    def _close(self) -> None:
        if self._decoded is not None:
            self._decoded.close()
        if self._scratch is not None:
            self._scratch.cleanup()
        self._decoded = self._scratch = None


def _is_described(folder: Path) -> bool:
    try:
        return key_of(json.loads((folder / ABOUT).read_text())) == folder.name and (folder / IDS).exists()
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return False


def describe(split: Split, geometry: Geometry, decoder: Decoder) -> dict[str, Any]:
    """Return what a store is for; all but the split's name, place and form go into its key."""
    whole = split.whole or split
    return {
        "format": _FORMAT,
        "split": {
            "name": whole.name,
            "root": str(whole.root.resolve()),
            "form": whole.form,
            "images": len(whole),
            "fingerprint": whole.fingerprint,
        },
        "geometry": {
            "resize": geometry.resize,
            "crop": geometry.crop,
            "interpolation": geometry.interpolation,
        },
        "decoder": decoder.name,
        "versions": versions(decoder),
    }


def key_of(about: Mapping[str, Any]) -> str:
    """Return the name of the folder of a store: a digest of everything that can change a pixel."""
    key = {**about, "split": about["split"]["fingerprint"]}
    return hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:16]
