"""A model and its weights by name: torchvision's own, or one that a builder makes."""

from __future__ import annotations

import hashlib
import importlib
import math
import os
import pickle
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from http.client import HTTPException
from pathlib import Path
from typing import Any

import torch
import torchvision
from PIL import Image
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from harness.data.preset import Geometry, Preset
from harness.errors import DeviceError, ExpectedError, WeightsError
from harness.evaluation.device import is_out_of_memory
from harness.evaluation.setting import DEFAULT, MEMORY_FORMATS, Setting
from harness.evaluation.spec import ModelFacts, ModelSpec


@dataclass(frozen=True, eq=False)
class Loaded:
    """A model ready to be evaluated.

    Attributes:
        model: in eval mode, on the device, in the memory format of its setting.
        transform: torchvision's own preprocessing of a PIL image to (3, S, S) float32; None for a built model.
        facts: about it; the GFLOPs are from torchvision's metadata, or counted for a built model.
    """

    model: nn.Module
    transform: Callable[[Image.Image], Tensor] | None
    facts: ModelFacts


# What torchvision's constructors set only where they are given weights.
_AS_PRETRAINED: dict[str, Callable[[int], dict[str, Any]]] = {
    "googlenet": lambda _crop: {"transform_input": True, "aux_logits": False, "init_weights": False},
    "inception_v3": lambda _crop: {"transform_input": True, "init_weights": False},
    "vit_": lambda crop: {"image_size": crop},
}


def load(spec: ModelSpec, device: torch.device, setting: Setting = DEFAULT) -> Loaded:
    """Build the model with its weights, in eval mode, on ``device``.

    Raises:
        DeviceError: the device has no memory for the model.
        ExpectedError: torchvision has no such model or weights, or the builder cannot be imported.
        WeightsError: the weights file is missing and cannot be downloaded, or is not the published one.
    """
    if spec.builder is not None:
        return _place(spec, _built(spec), None, device, setting)
    weights = _torchvision_weights(spec)
    _ensure_genuine(weights.url, spec)
    try:
        with _weights_only():
            model = torchvision.models.get_model(spec.model, weights=weights, progress=False)
    except pickle.UnpicklingError as error:
        raise WeightsError(f"{spec}: the weights file holds more than tensors, and is not loaded: {error}") from error
    return _place(spec, model, weights, device, setting)


def load_seeded(spec: ModelSpec, device: torch.device, setting: Setting = DEFAULT) -> Loaded:
    """Build the model as it is with its weights, but with random ones: right for speed, and nothing is downloaded.

    A model with a builder has the weights that its builder gives it.

    Raises:
        DeviceError: the device has no memory for the model.
        ExpectedError: torchvision has no such model or weights, or the builder cannot be imported.
    """
    if spec.builder is not None:
        return load(spec, device, setting)
    weights = _torchvision_weights(spec)
    crop = preset_of(weights.transforms()).geometry.crop
    options = next((make(crop) for prefix, make in _AS_PRETRAINED.items() if spec.model.startswith(prefix)), {})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = torchvision.models.get_model(spec.model, weights=None, **options)
    return _place(spec, model, weights, device, setting)


def _place(spec: ModelSpec, model: nn.Module, weights: Any, device: torch.device, setting: Setting) -> Loaded:
    """Put the model on the device, in eval mode, in the memory format, compiled if that is wanted.

    Args:
        weights: the member of torchvision's weights enum; None for a built model.
    """
    model = model.eval()
    if weights is None:
        assert spec.preset is not None  # the file of expected values is refused without it
        transform, preset, gflops = None, spec.preset, _gflops(model, spec.preset.geometry.crop)
    else:
        transform, gflops = weights.transforms(), weights.meta["_ops"]
        preset = preset_of(transform)
    digest = _digest(model)
    try:
        memory_format: torch.memory_format = getattr(torch, MEMORY_FORMATS[setting.memory_format])
        model = model.to(device).to(memory_format=memory_format)
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        raise DeviceError(f"{spec}: {device} has no memory for the model") from error
    compiled: Any = torch.compile(model) if setting.compiled else model
    return Loaded(
        model=compiled,
        transform=transform,
        facts=ModelFacts(
            preset=preset,
            parameters=sum(parameter.numel() for parameter in model.parameters()),
            gflops=gflops,
            sha256=digest,
            weights_bytes=sum(tensor.nbytes for tensor in model.state_dict().values()),
        ),
    )


def _digest(model: nn.Module) -> str:
    """Return the sha256 of all parameters and buffers, by name, type, shape and bytes."""
    digest = hashlib.sha256()
    for name, tensor in model.state_dict().items():
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def torchvision_version() -> str:
    """Return the version of the torchvision that the models come from."""
    return str(torchvision.__version__)


def published_accuracies() -> dict[str, tuple[float, float]]:
    """Return acc@1 and acc@5 on ImageNet-1K, in percent, of every weight of torchvision that states them, by id."""
    published = {}
    for model in torchvision.models.list_models(module=torchvision.models):
        weights_enum = torchvision.models.get_model_weights(model)
        for name, weights in weights_enum.__members__.items():
            metrics = weights.meta["_metrics"].get("ImageNet-1K")
            # DEFAULT is another name of a member; VGG16's IMAGENET1K_FEATURES are no classifier and state NaN.
            if name == weights.name and metrics is not None and not math.isnan(metrics["acc@1"]):
                published[str(ModelSpec(model, name))] = (metrics["acc@1"], metrics["acc@5"])
    return published


def geometry_of(spec: ModelSpec) -> Geometry:
    """Return the geometry of the model's input, without loading its weights.

    Raises:
        ExpectedError: torchvision has no such model or weights.
    """
    preset = spec.preset if spec.builder else preset_of(_torchvision_weights(spec).transforms())
    assert preset is not None
    return preset.geometry


def cost_of(spec: ModelSpec) -> float:
    """Return about how many multiply-adds an image takes, in 10^9; infinite where nobody knows.

    A builder's model is taken for torchvision's of that name, as long as there is one.
    """
    if spec.model not in torchvision.models.list_models(module=torchvision.models):
        return math.inf
    members = torchvision.models.get_model_weights(spec.model).__members__
    weights = members.get(spec.weights, next(iter(members.values())))
    return float(weights.meta["_ops"])


def preset_of(transform: Any) -> Preset:
    """Return torchvision's ``ImageClassification`` transform as values."""
    (resize,), (crop,) = transform.resize_size, transform.crop_size
    return Preset(Geometry(resize, crop, transform.interpolation.value), tuple(transform.mean), tuple(transform.std))


def _torchvision_weights(spec: ModelSpec) -> Any:
    names = torchvision.models.list_models(module=torchvision.models)
    if spec.model not in names:
        raise ExpectedError(
            f"model {spec.model!r} is not one of torchvision {torchvision.__version__}'s classifiers"
            f"{_nearest(spec.model, names)}; a model from elsewhere needs a builder"
        )
    members = torchvision.models.get_model_weights(spec.model).__members__
    if spec.weights not in members:
        raise ExpectedError(
            f"weights {spec.weights!r} are not among torchvision {torchvision.__version__}'s for {spec.model}: "
            f"{', '.join(sorted(members))}"
        )
    return members[spec.weights]


def _nearest(name: str, names: list[str]) -> str:
    nearest = get_close_matches(name, names, n=1)
    return f" (nearest: {nearest[0]!r})" if nearest else ""


def _ensure_genuine(url: str, spec: ModelSpec) -> None:
    """Have the weights file in torch's cache, with the sha256 that its name promises.

    torch.hub checks the hash of what it downloads, but not of a file that is already there.
    """
    folder = Path(torch.hub.get_dir()) / "checkpoints"
    path = folder / url.rsplit("/", 1)[1]
    promised = re.search(r"-([0-9a-f]{8,})\.pth$", path.name)
    if promised is None:
        raise WeightsError(f"{spec}: the name of the weights file {path.name} holds no sha256 to check it against")
    if not path.exists():
        try:
            folder.mkdir(parents=True, exist_ok=True)
            torch.hub.download_url_to_file(url, str(path), hash_prefix=promised[1], progress=False)
        # An HTTPException is a connection that broke; a RuntimeError is a download with another hash, not kept.
        except (OSError, HTTPException, RuntimeError) as error:
            raise WeightsError(
                f"{spec}: the weights file {path.name} is not in {folder} and could not be downloaded from {url} "
                f"({getattr(error, 'reason', error)}); fetch it elsewhere and put it into that folder"
            ) from error
    found = _sha256(path)
    if not found.startswith(promised[1]):
        raise WeightsError(
            f"{spec}: the weights file {path} is damaged or not the published one: its sha256 should begin with "
            f"{promised[1]} and is {found[:16]}...; delete it, and it will be downloaded again from {url}"
        )


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


@contextmanager
def _weights_only() -> Iterator[None]:
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


def _built(spec: ModelSpec) -> nn.Module:
    assert spec.builder is not None
    module_name, function_name = spec.builder.split(":")
    try:
        function = getattr(importlib.import_module(module_name), function_name)
    except (ImportError, AttributeError) as error:
        raise ExpectedError(f"{spec}: builder {spec.builder!r} cannot be imported: {error}") from error
    model = function()
    if not isinstance(model, nn.Module):
        raise ExpectedError(f"{spec}: builder {spec.builder!r} returned {type(model).__name__}, not a torch.nn.Module")
    return model


def _gflops(model: nn.Module, side: int) -> float:
    # Not in inference mode, in which torch 2.4 counts nothing.
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(torch.zeros((1, 3, side, side)))
    # torch counts a multiply-add as two operations, torchvision's metadata as one.
    return float(counter.get_total_flops()) / 2e9
