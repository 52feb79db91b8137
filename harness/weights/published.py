"""Loads a published model of torchvision, once its weights file is what its name promises."""

from __future__ import annotations

import hashlib
import os
import pickle
import re
from collections.abc import Mapping
from http.client import HTTPException
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torchvision
from torch import nn

from harness.errors import WeightsError
from harness.expected import ModelSpec

# Variables that decide what torch.load may build: torchvision offers no argument for it, and torch refuses both.
_TENSORS_ONLY = {"TORCH_FORCE_WEIGHTS_ONLY_LOAD": "1", "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD": None}


class WeightsFile(NamedTuple):
    """The file of a model's published weights, in torch's cache or to be downloaded there."""

    model: str  # for messages
    url: str
    path: Path
    sha256: str  # its first digits, which are part of the name

    def fetch(self) -> None:
        """Download the file unless it is there; a WeightsError says why it cannot be had."""
        folder, name = self.path.parent, self.path.name
        if self.path.exists() and not self.path.is_file():  # reading a FIFO would wait for ever
            raise WeightsError(
                f"{self.model}: {self.path} must be a weights file, found a folder or a special file; remove it"
            )
        if self.path.exists():
            return
        try:
            folder.mkdir(parents=True, exist_ok=True)
            torch.hub.download_url_to_file(self.url, str(self.path), hash_prefix=self.sha256, progress=False)
        # An HTTPException is a connection that broke; a RuntimeError is a download with another hash, not kept.
        except (OSError, HTTPException, RuntimeError) as error:
            raise WeightsError(
                f"{self.model}: the weights file {name} is not in {folder} and could not be downloaded from {self.url} "
                f"({getattr(error, 'reason', error)}); fetch it elsewhere and put it into that folder"
            ) from error

    def verify(self) -> None:
        """Check the file's sha256, which torch.hub checks only of what it downloads."""
        try:
            found = _sha256(self.path)
        except OSError as error:
            raise WeightsError(
                f"{self.model}: the weights file {self.path} cannot be read: {error.strerror}"
            ) from error
        if not found.startswith(self.sha256):
            raise WeightsError(
                f"{self.model}: the weights file {self.path} is damaged or not the published one: its sha256 should "
                f"begin with {self.sha256} and is {found[:16]}...; delete it, and it will be downloaded again from "
                f"{self.url}"
            )


def weights_file(spec: ModelSpec, weights: Any) -> WeightsFile:
    """Return the file of weights, a member of torchvision's enum."""
    name = weights.url.rsplit("/", 1)[1]
    promised = re.search(r"-([0-9a-f]{8,})\.pth$", name)
    if promised is None:
        raise WeightsError(f"{spec}: expected a weights file whose name ends with its sha256, found {name}")
    return WeightsFile(str(spec), weights.url, Path(torch.hub.get_dir()) / "checkpoints" / name, promised[1])


def load_published(spec: ModelSpec, weights: Any) -> nn.Module:
    """Build torchvision's model with these weights; a WeightsError says why they cannot be had."""
    file = weights_file(spec, weights)
    file.fetch()
    file.verify()
    before = {name: os.environ.get(name) for name in _TENSORS_ONLY}
    _set_variables(_TENSORS_ONLY)
    try:
        module: nn.Module = torchvision.models.get_model(spec.model, weights=weights, progress=False)
    except pickle.UnpicklingError as error:
        raise WeightsError(
            f"{spec}: expected a weights file with tensors only, found other objects; fetch it again"
        ) from error
    finally:
        _set_variables(before)
    return module


def _set_variables(values: Mapping[str, str | None]) -> None:
    for name, value in values.items():
        os.environ.pop(name, None)
        if value is not None:
            os.environ[name] = value


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
