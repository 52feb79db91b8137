"""Loads a published model of torchvision, once its weights file is what its name promises."""

from __future__ import annotations

import hashlib
import os
import pickle
import re
from collections.abc import Mapping
from http.client import HTTPException
from pathlib import Path
from typing import Any

import torch
import torchvision
from torch import nn

from harness.errors import WeightsError
from harness.expected import ModelSpec

# Variables that decide what torch.load may build: torchvision offers no argument for it, and torch rejects both.
_TENSORS_ONLY = {"TORCH_FORCE_WEIGHTS_ONLY_LOAD": "1", "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD": None}


def load_published(spec: ModelSpec, weights: Any) -> nn.Module:
    """Build torchvision's model with these weights; a WeightsError says why they cannot be had."""
    ensure_published(weights.url, str(spec))
    before = {name: os.environ.get(name) for name in _TENSORS_ONLY}
    _set_variables(_TENSORS_ONLY)
    try:
        module: nn.Module = torchvision.models.get_model(spec.model, weights=weights, progress=False)
    except pickle.UnpicklingError as error:
        expected = "expected a weights file with tensors only, found other objects"
        raise WeightsError(f"{spec}: {expected}; download it again") from error
    finally:
        _set_variables(before)
    return module


def _set_variables(values: Mapping[str, str | None]) -> None:
    for name, value in values.items():
        os.environ.pop(name, None)
        if value is not None:
            os.environ[name] = value


def weights_file(url: str, name: str) -> tuple[Path, str]:
    """Return where torch's cache keeps a weights file, and the first digits of its sha256, which are in its name."""
    path = Path(torch.hub.get_dir()) / "checkpoints" / url.rsplit("/", 1)[1]
    promised = re.search(r"-([0-9a-f]{8,})\.pth$", path.name)
    if promised is None:
        raise WeightsError(f"{name}: expected a weights file whose name ends with its sha256, found {path.name}")
    return path, promised[1]


def ensure_published(url: str, name: str, *, download: bool = True) -> None:
    """Make sure that the weights file is in torch's cache, with the sha256 that is part of its name.

    torch.hub checks that of what it downloads, but not of a file that is already there.
    """
    path, promised = weights_file(url, name)
    if path.exists() and not path.is_file():  # reading a FIFO would wait for ever
        raise WeightsError(f"{name}: {path} must be a weights file, found a folder or a special file; remove it")
    if download and not path.exists():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            torch.hub.download_url_to_file(url, str(path), hash_prefix=promised, progress=False)
        # An HTTPException is a connection that broke; a RuntimeError is a download with another hash, not kept.
        except (OSError, HTTPException, RuntimeError) as error:
            raise WeightsError(
                f"{name}: the weights file {path.name} is not in {path.parent} and could not be downloaded from {url} "
                f"({getattr(error, 'reason', error)}); fetch it elsewhere and put it into that folder"
            ) from error
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    except OSError as error:
        advice = "`imagenet-gate weights fetch` downloads what is missing"
        raise WeightsError(f"{name}: {path}: {error.strerror}; {advice}") from error
    if not (found := digest.hexdigest()).startswith(promised):
        raise WeightsError(
            f"{name}: the weights file {path} is damaged or not the published one: its sha256 should begin with "
            f"{promised} and is {found[:16]}...; delete it, and it will be downloaded again from {url}"
        )
