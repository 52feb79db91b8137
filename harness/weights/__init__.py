"""The published weights files in torch's cache: downloaded, and checked by the sha256 in their name."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path

import torch

from harness.errors import WeightsError


def ensure_published(url: str, name: str) -> None:
    """Make sure that the weights file is in torch's cache, with the sha256 that is part of its name.

    torch.hub checks the hash of what it downloads, but not of a file that is already there.
    """
    folder = Path(torch.hub.get_dir()) / "checkpoints"
    path = folder / url.rsplit("/", 1)[1]
    promised = re.search(r"-([0-9a-f]{8,})\.pth$", path.name)
    if promised is None:
        raise WeightsError(f"{name}: expected a weights file whose name ends with its sha256, found {path.name}")
    if not path.exists():
        try:
            folder.mkdir(parents=True, exist_ok=True)
            torch.hub.download_url_to_file(url, str(path), hash_prefix=promised[1], progress=False)
        # An HTTPException is a connection that broke; a RuntimeError is a download with another hash, not kept.
        except (OSError, HTTPException, RuntimeError) as error:
            raise WeightsError(
                f"{name}: the weights file {path.name} is not in {folder} and could not be downloaded from {url} "
                f"({getattr(error, 'reason', error)}); fetch it elsewhere and put it into that folder"
            ) from error
    found = _sha256(path)
    if not found.startswith(promised[1]):
        raise WeightsError(
            f"{name}: the weights file {path} is damaged or not the published one: its sha256 should begin with "
            f"{promised[1]} and is {found[:16]}...; delete it, and it will be downloaded again from {url}"
        )


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


@contextmanager
def weights_only() -> Iterator[None]:
    """Let torch.load build nothing but tensors: torchvision's own loading has no argument for that."""
    name = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"
    before = os.environ.get(name)
    os.environ[name] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before
