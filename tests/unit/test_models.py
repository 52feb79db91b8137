"""Tests of harness.models: torchvision's own loading, with weights files planted in torch's cache."""

from __future__ import annotations

import hashlib
import math
import os
import re
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from torch import nn
from torchvision.models import GoogLeNet_Weights, SqueezeNet1_1_Weights, WeightsEnum

from harness.errors import DeviceError, EvaluationError, ExpectedError, WeightsError
from harness.expected import ModelSpec
from harness.models import Loader, digest_of_weights, gmacs_of, load
from harness.precision import DEFAULT, Setting
from harness.preset import Geometry, Preset

CPU = torch.device("cpu")
SQUEEZENET, SQUEEZENET_WEIGHTS = ModelSpec("squeezenet1_1", "IMAGENET1K_V1"), SqueezeNet1_1_Weights.IMAGENET1K_V1
PRESET = Preset(Geometry(256, 224, "bilinear"), (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
Publish = Callable[..., tuple[Path, Path]]


@pytest.fixture
def publish(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Publish:
    """Publish weights at a URL of this machine; return their file there, and its path in torch.hub's empty cache."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))

    def publish(content: object, weights: Any = SQUEEZENET_WEIGHTS, name: str = "weights-{}.pth") -> tuple[Path, Path]:
        torch.save(content, tmp_path / "unnamed")
        digest = hashlib.sha256((tmp_path / "unnamed").read_bytes()).hexdigest()
        file = (tmp_path / "unnamed").rename(tmp_path / name.format(digest[:8]))
        monkeypatch.setattr(weights, "_value_", replace(weights.value, url=file.as_uri()))
        return file, tmp_path / "torch" / "hub" / "checkpoints" / file.name

    return publish


@pytest.mark.parametrize(
    ("model", "weights", "is_cached"),
    [("squeezenet1_1", SQUEEZENET_WEIGHTS, True), ("googlenet", GoogLeNet_Weights.IMAGENET1K_V1, False)],
)
def test_a_published_file_is_loaded(model: str, weights: WeightsEnum, is_cached: bool, publish: Publish) -> None:
    """From the cache, or downloaded; the model is in eval mode, with torchvision's preset and counts."""
    options = {"init_weights": False} if model == "googlenet" else {}
    tensors = torchvision.models.get_model(model, weights=None, **options).state_dict()
    file, cached = publish(tensors, weights)
    if is_cached:
        cached.parent.mkdir(parents=True)
        file.rename(cached)

    loaded = load(ModelSpec(model, "IMAGENET1K_V1"), CPU)

    assert all(torch.equal(tensors[name], tensor) for name, tensor in loaded.module.state_dict().items())
    assert (model == "googlenet") == getattr(loaded.module, "transform_input", False)
    assert not any(module.training for module in loaded.module.modules())
    assert PRESET == loaded.preset
    assert loaded.transform is not None
    assert (weights.meta["num_params"], weights.meta["_ops"]) == (loaded.parameters, round(loaded.gmacs, 3))
    assert cached.exists()
    assert "TORCH_FORCE_WEIGHTS_ONLY_LOAD" not in os.environ


def _flip_one_bit(file: Path, cached: Path) -> None:
    damaged = bytearray(file.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    cached.write_bytes(damaged)


SPECIAL = "{1} must be a weights file, found a folder or a special file; remove it"


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (
            lambda file, _: file.unlink(),
            r"the weights file {0.name} is not in {1.parent} and could not be downloaded from file://{0} \(.*\); fetch "
            "it elsewhere and put it into that folder",
        ),
        (
            lambda file, _: os.truncate(file, 100),
            r"the weights file .* could not be downloaded from .* \(invalid hash value.*",
        ),
        (_flip_one_bit, ".*{0.name} is damaged or not the published one: its sha256 should begin.*"),
        (lambda _, cached: cached.mkdir(), SPECIAL),
        (lambda _, cached: os.mkfifo(cached), SPECIAL),
    ],
    ids=["missing", "broken download", "damaged", "folder", "FIFO"],
)
def test_unusable_weights_are_an_error(spoil: Callable[[Path, Path], object], sentence: str, publish: Publish) -> None:
    """The sentence names file, folder and URL; nothing waits, and what was downloaded is not kept for the next time."""
    file, cached = publish({})
    cached.parent.mkdir(parents=True)
    spoil(file, cached)
    before = list(cached.parent.iterdir())

    with pytest.raises(WeightsError) as raised:
        load(SQUEEZENET, CPU)

    assert re.fullmatch(f"squeezenet1_1-IMAGENET1K_V1: {sentence.format(file, cached)}", str(raised.value))
    assert before == list(cached.parent.iterdir())


def test_a_name_without_a_hash_is_an_error(publish: Publish) -> None:
    """What cannot be checked is not used."""
    publish({}, name="weights.pth")

    with pytest.raises(WeightsError, match=r"expected a weights file whose name ends with its sha256, found weights\."):
        load(SQUEEZENET, CPU)


class Executed:
    """Runs a function when it is unpickled."""

    def __reduce__(self) -> tuple[Callable[[str], object], tuple[str]]:
        return os.mkdir, ("executed",)


@pytest.mark.parametrize("forced", ["TORCH_FORCE_WEIGHTS_ONLY_LOAD", "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"])
def test_code_is_not_executed(forced: str, publish: Publish, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only tensors are loaded, even if the sha256 is the one in the name, and whatever the environment says."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(forced, "1")
    _, cached = publish({"classifier.1.weight": Executed()})

    with pytest.raises(WeightsError, match="squeezenet1_1-IMAGENET1K_V1: expected a weights file with tensors only"):
        load(SQUEEZENET, CPU)

    assert not Path("executed").exists()
    assert cached.exists()
    assert "1" == os.environ[forced]


def built(function: str) -> ModelSpec:
    """Return a model of this module's ``function``."""
    return ModelSpec("mine", "V1", f"{__name__}:{function}", PRESET)


def tiny() -> nn.Module:
    """Build a model in train mode, as a builder may leave it."""
    return nn.Sequential(nn.Conv2d(3, 8, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout())


def half() -> nn.Module:
    """Build a model with float16 parameters."""
    return tiny().half()


def half_inside() -> nn.Module:
    """Build the same, which takes float32 images all the same."""
    model = half()
    model.register_forward_pre_hook(lambda _, images: (images[0].half(),))
    return model


@lru_cache
def int8() -> nn.Module:
    """Return a quantized model: integers in packed weights, and in quantized tensors; it takes seconds."""
    model: nn.Module = torchvision.models.quantization.resnet18(quantize=True)
    return model


def exported() -> torch.export.ExportedProgram:
    """Build a program for batches of any size."""
    torch.manual_seed(0)
    sizes = ({0: torch.export.Dim("batch", min=1)},)
    return torch.export.export(tiny().eval(), (torch.zeros(2, 3, 224, 224),), dynamic_shapes=sizes)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
@pytest.mark.parametrize("build", [int8, exported, half_inside, tiny])
def test_models_of_many_kinds_are_evaluated(build: Callable[[], Any]) -> None:
    """In batches, with a digest that is the same each time, and another one where one weight differs."""
    loaded = []
    for _ in range(3):
        torch.manual_seed(0)
        loaded.append(load(built(build.__name__), CPU))
    one, again, changed = loaded
    if build is int8:
        layer: Any = changed.module.get_submodule("fc")
        layer.set_weight_bias(layer.weight(), layer.bias() + 1)
    else:
        with torch.no_grad():
            next(changed.module.parameters()).view(-1)[0] += 1

    logits = one.module(torch.zeros(3, 3, 224, 224))

    assert 3 == len(logits)
    assert one.sha256 == again.sha256 != digest_of_weights(changed.module)
    assert not any(module.training for module in one.module.modules())
    assert (PRESET, None) == (one.preset, one.transform)
    # https://pytorch.org/vision/main/models.html: 11,689,512 weights and biases, of which batch norm is folded.
    assert (11_684_712 if build is int8 else 32) == one.parameters


def test_a_model_that_takes_no_float32_is_an_error() -> None:
    """Before anything is evaluated, and what to do."""
    reason = "mine-V1: its parameters are float16, and it does not take float32 images; return the model in float32 and"

    with pytest.raises(EvaluationError, match=rf"^{reason} use --precision fp16$"):
        load(built("half"), CPU)


def raising() -> None:
    """Fail in the user's code."""
    open("no-such-file")  # noqa: SIM115, PTH123


@pytest.mark.parametrize(
    ("builder", "reason"),
    [
        (f"{__name__}:missing", r"'.*' cannot be imported: AttributeError: .*has no attribute 'missing' \(.*\)"),
        ("broken_builder:tiny", r"'.*' cannot be imported: SyntaxError: .*\(broken_builder.py, line 2\)"),
        ("raising_builder:tiny", r"'.*' cannot be imported: ZeroDivisionError: .* \(raising_builder.py, line 1\)"),
        (".relative:tiny", r"must name its module from the top, such as .*, found the relative '.relative:tiny'"),
        ("math:pi", r"'.*' must be a function, found 3.14.*"),
        (f"{__name__}:raising", r"'.*' failed: FileNotFoundError: .*: 'no-such-file' \(test_models.py, line \d+\)"),
        ("os:getcwd", r"'.*' returned str, not a torch.nn.Module"),
    ],
)
def test_a_wrong_builder(builder: str, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sentence names the builder and what is wrong with it, in one line."""
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "broken_builder.py").write_text("import torch\ndef tiny(:\n")
    (tmp_path / "raising_builder.py").write_text("1 / 0\n")

    with pytest.raises(ExpectedError, match=rf"^mine-V1: builder {reason}$"):
        load(ModelSpec("mine", "V1", builder, PRESET), CPU)


def test_the_digest_of_the_weights_is_that_of_their_bytes() -> None:
    """As documented, whatever the memory format; one value off by the last bit gives another digest."""
    model = tiny()
    arrays = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    parts = [f"{name} torch.{array.dtype} {array.shape}\n".encode() + array.tobytes() for name, array in arrays.items()]
    expected = hashlib.sha256(b"".join(parts)).hexdigest()
    changed = deepcopy(model)
    with torch.no_grad():
        weight = next(changed.parameters())
        weight[0, 0, 0, 0] = torch.nextafter(weight[0, 0, 0, 0], torch.tensor(9.0))

    assert expected == digest_of_weights(model)
    assert expected == digest_of_weights(deepcopy(model).to(memory_format=torch.channels_last))
    assert expected != digest_of_weights(changed)


@pytest.mark.parametrize(
    ("model", "weights", "attributes"),
    [
        # With weights its constructor drops the auxiliary heads and transforms the input; speed is that model's.
        ("googlenet", "IMAGENET1K_V1", {"aux_logits": False, "aux1": None, "aux2": None, "transform_input": True}),
        # It learns only from the weights how large their images are.
        ("vit_b_16", "IMAGENET1K_SWAG_E2E_V1", {"image_size": 384}),
    ],
)
def test_a_seeded_model_is_the_one_that_is_scored(model: str, weights: str, attributes: dict[str, object]) -> None:
    """And the caller's random numbers are as before."""
    torch.manual_seed(7)
    before = torch.random.get_rng_state()

    module = load(ModelSpec(model, weights), CPU, seeded=True).module

    assert attributes == {name: getattr(module, name) for name in attributes}
    assert torch.equal(before, torch.random.get_rng_state())


def test_the_last_model_is_kept_for_its_other_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is loaded once, compiled once and as a whole, without caches, and forgotten when another one is wanted."""
    compiling: list[object] = []

    def compiled_by_torch(model: nn.Module, **how: object) -> nn.Module:
        compiling.append(how)
        return nn.Sequential(model)

    monkeypatch.setattr(torch.compiler, "reset", lambda: compiling.append("reset"))
    monkeypatch.setattr(torch, "compile", compiled_by_torch)
    contiguous, compiled = Setting(memory_format="contiguous"), Setting(compiled=True)
    loader = Loader(CPU, seeded=True)

    first, again = loader.load(SQUEEZENET, DEFAULT), loader.load(SQUEEZENET, DEFAULT)
    kernel: Any = first.module.get_submodule("features.0").weight
    formats = [
        loader.load(SQUEEZENET, setting) is not None and kernel.is_contiguous(memory_format=torch.channels_last)
        for setting in (contiguous, DEFAULT)
    ]
    wrapped, rewrapped = loader.load(SQUEEZENET, compiled), loader.load(SQUEEZENET, compiled)
    compiled_once = list(compiling)
    other = loader.load(built("tiny"), compiled)
    given = [loader.load(built("tiny"), DEFAULT, nn.Conv2d(3, n, 1)).parameters for n in (1, 2)]

    assert first is again
    assert [False, True] == formats
    assert wrapped is rewrapped
    assert ["reset", {"fullgraph": True}] == compiled_once
    assert wrapped.module[0] is first.module  # type: ignore[index]
    assert [32, 4, 8] == [other.parameters, *given]
    assert loader.load(SQUEEZENET, DEFAULT) is not first


def test_multiply_adds_are_known_without_loading_the_model() -> None:
    """From torchvision's metadata of the weights; a builder's model by its name; another counts as the largest."""
    specs = [
        ModelSpec("vit_h_14", "IMAGENET1K_SWAG_E2E_V1"),
        ModelSpec("vit_h_14", "IMAGENET1K_SWAG_LINEAR_V1"),
        ModelSpec("vgg16", "SYNTHETIC_V1", "nowhere:vgg16", PRESET),
        ModelSpec("ours", "V1", "nowhere:ours", PRESET),
    ]

    assert [1016.717, 167.295, 15.47, math.inf] == [gmacs_of(spec) for spec in specs]


def no_memory() -> nn.Module:
    """Fail as Python does."""
    raise MemoryError


def test_a_device_without_memory_for_the_model_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """In one sentence; any other error keeps its traceback."""
    errors = iter([torch.cuda.OutOfMemoryError("CUDA out of memory"), RuntimeError("another")])

    def fail(_module: nn.Module, *_: object, **__: object) -> None:
        raise next(errors)

    with pytest.raises(DeviceError, match=r"^mine-V1: cpu ran out of memory for the model$"):
        load(built("no_memory"), CPU)
    monkeypatch.setattr(nn.Module, "to", fail)
    with pytest.raises(DeviceError, match=r"^mine-V1: cpu ran out of memory for the model$"):
        load(built("tiny"), CPU)
    with pytest.raises(RuntimeError, match=r"^another$"):
        load(built("tiny"), CPU)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
def test_integers_scale_and_zero_point_of_a_quantized_tensor_count() -> None:
    """The same integers are other weights under another scale, of the whole tensor or of a channel."""
    ones, zeros = torch.ones(2, 3, dtype=torch.int8), torch.zeros(2, dtype=torch.int64)
    whole = [torch._make_per_tensor_quantized_tensor(ones, *scale) for scale in ((0.1, 0), (0.2, 0), (0.1, 1))]
    channels = [
        torch._make_per_channel_quantized_tensor(integers, torch.tensor(scales), zeros, 0)
        for integers, scales in ((ones, [0.1, 0.1]), (ones, [0.1, 0.2]), (2 * ones, [0.1, 0.1]))
    ]
    modules = [nn.Module() for _ in range(6)]
    for module, tensor in zip(modules, [*whole, *channels], strict=True):
        module.register_buffer("packed", tensor)

    assert 6 == len({digest_of_weights(module) for module in modules})
