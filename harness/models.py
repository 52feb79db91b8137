"""Loads a model and its weights by name, or prepares the caller's module; and computes the digest of its weights."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import Any

import torch
import torchvision
from PIL import Image
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from harness.device import is_out_of_memory, memory_for
from harness.errors import EvaluationError, ExpectedError
from harness.expected import ModelSpec
from harness.precision import DEFAULT, MEMORY_FORMATS, Setting
from harness.preset import Geometry, Preset, preset_of
from harness.records.accuracy_file import build


@dataclass(frozen=True, eq=False)
class Model:
    """A model ready to be evaluated."""

    module: nn.Module  # in eval mode, on the device, in the memory format of its setting
    preset: Preset  # how its input is prepared
    transform: Callable[[Image.Image], Tensor] | None  # torchvision's own, to (3, S, S) float32; None for others
    parameters: int  # number of weights and biases
    gmacs: float  # multiply-adds of one image, in 10^9; from torchvision's metadata, or counted for other models
    sha256: str  # of all parameters, buffers and packed weights, see digest_of_weights
    name: str = "the model"  # for messages


class Loader:
    """Loads models, and keeps the last one for its other settings: loading can take longer than evaluating."""

    def __init__(self, device: torch.device, *, seeded: bool = False) -> None:
        self._device, self._seeded = device, seeded
        self._eager: tuple[ModelSpec, nn.Module | None, Model] | None = None
        self._ready: tuple[Setting, Model] | None = None

    def load(self, spec: ModelSpec, setting: Setting, module: nn.Module | None = None) -> Model:
        """Return the model in a setting; arguments and errors as for ``load``."""
        if self._eager is None or self._eager[:2] != (spec, module):
            self._eager = self._ready = None  # before the next one needs their memory
            self._eager = spec, module, load(spec, self._device, seeded=self._seeded, module=module)
        if self._ready is None or self._ready[0] != setting:
            self._ready = setting, in_setting(self._eager[2], self._device, setting)
        return self._ready[1]


# What torchvision's constructors set only if they are given weights.
_AS_PRETRAINED: dict[str, dict[str, Any]] = {
    "googlenet": {"transform_input": True, "aux_logits": False, "init_weights": False},
    "inception_v3": {"transform_input": True, "init_weights": False},
}


def load(
    spec: ModelSpec,
    device: torch.device,
    setting: Setting = DEFAULT,
    *,
    seeded: bool = False,
    module: nn.Module | None = None,
) -> Model:
    """Build the model with its weights, in eval mode, on the device, in a setting.

    Args:
        seeded: draw random weights instead of loading torchvision's: enough for timing, and nothing is downloaded.
        module: the model with its weights, instead of what a builder would return.

    Raises:
        DeviceError: the device ran out of memory for the model.
        EvaluationError: the model takes no float32 images.
        ExpectedError: torchvision has no such model or weights, or the builder cannot be imported.
        WeightsError: the weights file is missing and cannot be downloaded, or is not the published one.
    """
    preset, weights = preset_and_weights(spec)
    with memory_for(f"{spec}: {device} ran out of memory for the model"):
        if weights is None:
            module = _built(spec) if module is None else module
        else:
            from harness.weights.published import load_published

            module = _seeded(spec.model, preset.geometry.crop) if seeded else load_published(spec, weights)
        return in_setting(prepare(module, preset, weights, str(spec)), device, setting)


def _seeded(model: str, crop: int) -> nn.Module:
    options = {"image_size": crop} if model.startswith("vit_") else _AS_PRETRAINED.get(model, {})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module: nn.Module = torchvision.models.get_model(model, weights=None, **options)
    return module


def prepare(module: nn.Module, preset: Preset, weights: Any = None, name: str = Model.name) -> Model:
    """Return a module in eval mode, with torchvision's metadata of ``weights``, if given; errors as for ``load``."""
    if isinstance(module, torch.fx.GraphModule) and "eval" in vars(module):  # torch.export replaces it by an error
        for each in module.modules():
            each.training = False  # dropout and batch statistics are as they were when it was exported
    else:
        module = module.eval()
    sha256 = digest_of_weights(module)
    gmacs = weights.meta["_ops"] if weights else _count_gmacs(module, preset.geometry.crop, name)
    parameters = sum(parameter.numel() for parameter in module.parameters())
    buffers, tensors = dict(module.named_buffers()), dict(module.named_parameters())
    # Packed weights and their biases are neither; scales and zero points are scalars.
    packed = (t for name, t in _weights_of(module) if name not in buffers and name not in tensors)
    parameters += sum(t.numel() for t in packed if isinstance(t, Tensor) and t.ndim)
    transform = weights and weights.transforms()
    return Model(module, preset, transform, parameters, gmacs, sha256, name)


def in_setting(model: Model, device: torch.device, setting: Setting) -> Model:
    """Return an eager model on the device, in the setting's memory format, compiled if wanted; its module is moved.

    A device without memory for it is a DeviceError.
    """
    with memory_for(f"{model.name}: {device} ran out of memory for the model"):
        module: Any = model.module.to(device).to(memory_format=getattr(torch, MEMORY_FORMATS[setting.memory_format]))
    if setting.compiled:
        torch.compiler.reset()  # compiled code is cached by code object: the ninth model of a family would run eager
        module = torch.compile(module, fullgraph=True)  # an error where Dynamo would leave something eager
    return replace(model, module=module)


def digest_of_weights(module: nn.Module) -> str:
    """Return the sha256 of all parameters, buffers and packed weights: names, dtypes, shapes and bytes.

    A quantized tensor counts as its scales, zero points and integers; what is not a tensor, as its ``repr``.
    """
    digest = hashlib.sha256()
    for name, value in _weights_of(module):
        if not isinstance(value, Tensor):
            digest.update(f"{name} {value!r}\n".encode())
            continue
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        for tensor in _unpacked(value) if value.is_quantized else [value]:
            digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _weights_of(module: nn.Module) -> Iterator[tuple[str, Any]]:
    """Yield the names and values of the module's state; packed weights are in tuples there."""
    for name, value in module.state_dict().items():
        yield from ((name, part) for part in (value if isinstance(value, tuple | list) else [value]))


def _unpacked(tensor: Tensor) -> list[Tensor]:
    """Return the scales, zero points and integers of a quantized tensor."""
    if tensor.qscheme() in (torch.per_tensor_affine, torch.per_tensor_symmetric):
        scales, zero_points = torch.tensor(tensor.q_scale()), torch.tensor(tensor.q_zero_point())
    else:
        scales, zero_points = tensor.q_per_channel_scales(), tensor.q_per_channel_zero_points()
    return [scales, zero_points, tensor.int_repr()]


def geometry_of(spec: ModelSpec) -> Geometry:
    """Return the geometry of the model's input without loading its weights; ExpectedError as for ``load``."""
    return preset_and_weights(spec)[0].geometry


def gmacs_of(spec: ModelSpec) -> float:
    """Return roughly how many multiply-adds an image takes, in 10^9; infinite if that is not known.

    A model with a builder counts as torchvision's model of that name, if there is one.
    """
    if spec.model not in torchvision.models.list_models(module=torchvision.models):
        return math.inf
    members = torchvision.models.get_model_weights(spec.model).__members__
    return float(members.get(spec.weights, next(iter(members.values()))).meta["_ops"])


def preset_and_weights(spec: ModelSpec) -> tuple[Preset, Any]:
    """Return the model's preset, and torchvision's member that names its weights; None for a model with a builder."""
    if spec.builder is not None:
        assert spec.preset is not None  # read_expected requires both
        return spec.preset, None
    names = torchvision.models.list_models(module=torchvision.models)
    if spec.model not in names:
        hint = "".join(f" (nearest: {name!r})" for name in get_close_matches(spec.model, names, n=1))
        raise ExpectedError(
            f"model {spec.model!r} is not one of torchvision {torchvision.__version__}'s classifiers{hint}; a model "
            "from elsewhere needs a builder"
        )
    members = torchvision.models.get_model_weights(spec.model).__members__
    if spec.weights not in members:
        raise ExpectedError(
            f"weights {spec.weights!r} are not among torchvision {torchvision.__version__}'s for {spec.model}: "
            f"{', '.join(sorted(members))}"
        )
    return preset_of(members[spec.weights].transforms()), members[spec.weights]


def _built(spec: ModelSpec) -> nn.Module:
    model = build(spec)
    if isinstance(model, torch.export.ExportedProgram):
        model = model.module()
    if not isinstance(model, nn.Module):
        raise ExpectedError(f"{spec}: builder {spec.builder!r} returned {type(model).__name__}, not a torch.nn.Module")
    return model


def _count_gmacs(module: nn.Module, side: int, name: str) -> float:
    """Count on one image; a model of another dtype that does not take float32 images is an EvaluationError."""
    tensors = [*module.parameters(), *module.buffers()]
    dtypes = {str(t.dtype).removeprefix("torch.") for t in tensors if t.is_floating_point()} - {"float32"}
    image = torch.zeros((1, 3, side, side), device=tensors[0].device if tensors else None)
    try:
        # Not in inference mode, in which torch 2.4 counts nothing.
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            module(image)
    except RuntimeError as error:
        if not dtypes or is_out_of_memory(error):
            raise
        use = {"float16": " and use --precision fp16", "bfloat16": " and use --precision bf16"}
        advice = "".join(use.get(dtype, "") for dtype in dtypes)
        raise EvaluationError(
            f"{name}: its parameters are {', '.join(sorted(dtypes))}, and it does not take float32 images; return the "
            f"model in float32{advice}"
        ) from error
    # torch counts a multiply-add as two operations, torchvision's metadata as one.
    return float(counter.get_total_flops()) / 2e9
