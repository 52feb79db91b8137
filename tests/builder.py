"""A process that decodes a dataset into a store, to be killed, raced, or waited for."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path

from harness.dataset import open_dataset
from harness.decoding.store import Store
from harness.errors import HarnessError
from harness.options import Decoder
from harness.preset import Geometry

GEOMETRY = Geometry(256, 224, "bilinear")


class Builder:
    """Begins to decode at once."""

    def __init__(self, dataset: Path | str, store: Path) -> None:
        self._reports, reports = multiprocessing.Pipe(duplex=False)
        # A fork of the server that the decoders are forked from: torch is imported there already.
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["harness.decoding.store"])
        self._process = context.Process(target=_build, args=(dataset, store, reports))
        self._process.start()
        reports.close()

    def reports(self) -> Iterator[int | str]:
        """Yield the numbers of decoded images as they are reported, and then the error, if there is one."""
        try:
            while True:
                yield self._reports.recv()
        except EOFError:
            self._process.join()

    def kill(self, after: float = 0.0) -> None:
        """End it by SIGKILL, if it has not ended after so many seconds."""
        self._process.join(after)
        self._process.kill()
        self._process.join()

    @property
    def status(self) -> int | None:
        """Its exit status."""
        return self._process.exitcode


def _build(dataset: Path | str, store: Path, reports: Connection) -> None:
    try:
        with Store(open_dataset(dataset), Decoder(), store, workers=2) as decoding:
            decoding.decoded(GEOMETRY, lambda done, _: reports.send(done)).finish()
    except HarnessError as error:
        reports.send(str(error))
