"""Tests of harness.models: torchvision's own loading, with weights files planted in torch's cache."""

from __future__ import annotations

import hashlib
import math
import os
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
from torchvision.models import GoogLeNet_Weights, SqueezeNet1_1_Weights

from harness.errors import DeviceError, EvaluationError, ExpectedError, WeightsError
from harness.expected import ModelSpec
from harness.models import Loader, digest_of_weights, gmacs_of, load
from harness.precision import DEFAULT, Setting
from harness.predict import Normalize, forward
from harness.preset import Geometry, Preset

CPU = torch.device("cpu")
SQUEEZENET = ModelSpec("squeezenet1_1", "IMAGENET1K_V1")
PRESET = Preset(Geometry(256, 224, "bilinear"), (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of torch.hub."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    return tmp_path / "torch" / "hub" / "checkpoints"


@pytest.fixture
def publish(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[torchvision.models.WeightsEnum, object], Path]:
    """Let torchvision's weights be ``content``, published at a URL of this machine; return the file there."""

    def publish(weights: torchvision.models.WeightsEnum, content: object) -> Path:
        torch.save(content, tmp_path / "unnamed")
        digest = hashlib.sha256((tmp_path / "unnamed").read_bytes()).hexdigest()
        file = tmp_path / "server" / f"weights-{digest[:8]}.pth"
        file.parent.mkdir(exist_ok=True)
        (tmp_path / "unnamed").rename(file)
        monkeypatch.setattr(weights, "_value_", replace(weights.value, url=file.as_uri()))
        return file

    return publish


def seeded(model: str, **options: object) -> nn.Module:
    """Return torchvision's architecture with random weights, the same each time."""
    torch.manual_seed(0)
    built = torchvision.models.get_model(model, weights=None, **options)
    assert isinstance(built, nn.Module)
    return built


def test_a_cached_file_is_loaded_by_torchvision(cache: Path, publish: Callable[..., Path]) -> None:
    """The tensors of the file arrive in the model, which is in eval mode, with torchvision's preset and counts."""
    original = seeded("squeezenet1_1")
    file = publish(SqueezeNet1_1_Weights.IMAGENET1K_V1, original.state_dict())
    cache.mkdir(parents=True)
    file.rename(cache / file.name)

    loaded = load(SQUEEZENET, CPU)

    assert all(torch.equal(a, b) for a, b in zip(original.parameters(), loaded.module.parameters(), strict=True))
    assert not any(module.training for module in loaded.module.modules())
    assert loaded.preset == PRESET
    assert loaded.transform is not None
    assert loaded.parameters == SqueezeNet1_1_Weights.IMAGENET1K_V1.meta["num_params"]
    assert round(loaded.gmacs, 3) == SqueezeNet1_1_Weights.IMAGENET1K_V1.meta["_ops"]
    assert "TORCH_FORCE_WEIGHTS_ONLY_LOAD" not in os.environ


def test_a_missing_file_that_cannot_be_downloaded_is_named(cache: Path, publish: Callable[..., Path]) -> None:
    """The sentence names the file, the folder to put it in, and the URL."""
    file = publish(SqueezeNet1_1_Weights.IMAGENET1K_V1, {})
    file.unlink()

    with pytest.raises(WeightsError) as raised:
        load(SQUEEZENET, CPU)

    message = str(raised.value)
    assert message.startswith(
        f"squeezenet1_1-IMAGENET1K_V1: the weights file {file.name} is not in {cache} and could not be downloaded "
        f"from {file.as_uri()} ("
    )
    assert message.endswith("); fetch it elsewhere and put it into that folder")


def test_a_damaged_cached_file_is_an_error(cache: Path, publish: Callable[..., Path]) -> None:
    """One flipped bit in a file that was already there is found before it is loaded."""
    file = publish(SqueezeNet1_1_Weights.IMAGENET1K_V1, seeded("squeezenet1_1").state_dict())
    damaged = bytearray(file.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    cache.mkdir(parents=True)
    (cache / file.name).write_bytes(damaged)

    with pytest.raises(
        WeightsError, match=rf"{file.name} is damaged or not the published one: its sha256 should begin"
    ):
        load(SQUEEZENET, CPU)


@pytest.mark.usefixtures("cache")
def test_a_name_without_a_hash_is_an_error(publish: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """What cannot be checked is not used."""
    file = publish(SqueezeNet1_1_Weights.IMAGENET1K_V1, {})
    unnamed = file.rename(file.with_name("weights.pth"))
    weights = SqueezeNet1_1_Weights.IMAGENET1K_V1
    monkeypatch.setattr(weights, "_value_", replace(weights.value, url=unnamed.as_uri()))

    with pytest.raises(
        WeightsError, match=r"expected a weights file whose name ends with its sha256, found weights\.pth"
    ):
        load(SQUEEZENET, CPU)


class Executed:
    """Runs a function when it is unpickled."""

    def __reduce__(self) -> tuple[Callable[[str], object], tuple[str]]:
        return os.mkdir, ("executed",)


@pytest.mark.parametrize("forced", ["TORCH_FORCE_WEIGHTS_ONLY_LOAD", "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"])
def test_a_file_that_holds_code_is_not_executed(
    forced: str, cache: Path, publish: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only tensors are loaded, even if the sha256 is the one in the name, and whatever the environment says."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(forced, "1")
    publish(SqueezeNet1_1_Weights.IMAGENET1K_V1, {"classifier.1.weight": Executed()})

    with pytest.raises(WeightsError, match="squeezenet1_1-IMAGENET1K_V1: expected a weights file with tensors only"):
        load(SQUEEZENET, CPU)

    assert not Path("executed").exists()
    assert cache.exists()
    assert "1" == os.environ[forced]


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo], ids=["folder", "FIFO"])
def test_what_is_no_file_is_no_weights_file(
    make: Callable[[Path], None], cache: Path, publish: Callable[..., Path]
) -> None:
    """It is named, and nothing waits for it."""
    file = publish(SqueezeNet1_1_Weights.IMAGENET1K_V1, {})
    cache.mkdir(parents=True)
    make(cache / file.name)

    with pytest.raises(WeightsError) as raised:
        load(SQUEEZENET, CPU)

    assert (
        f"squeezenet1_1-IMAGENET1K_V1: {cache / file.name} must be a weights file, found a folder or a special file; "
        "remove it" == str(raised.value)
    )


def test_googlenet_is_the_pretrained_variant(cache: Path, publish: Callable[..., Path]) -> None:
    """Its input is transformed, its auxiliary heads are gone, and the counts are torchvision's."""
    publish(GoogLeNet_Weights.IMAGENET1K_V1, seeded("googlenet", init_weights=False).state_dict())

    loaded = load(ModelSpec("googlenet", "IMAGENET1K_V1"), CPU)

    assert vars(loaded.module)["transform_input"] is True
    assert loaded.module.aux1 is None
    assert loaded.parameters == GoogLeNet_Weights.IMAGENET1K_V1.meta["num_params"]
    assert round(loaded.gmacs, 3) == GoogLeNet_Weights.IMAGENET1K_V1.meta["_ops"]
    assert cache.exists()


@pytest.mark.usefixtures("cache")
def test_a_broken_download_is_not_kept(publish: Callable[..., Path], cache: Path) -> None:
    """What arrives with another hash is an error, and not found in the cache the next time."""
    file = publish(SqueezeNet1_1_Weights.IMAGENET1K_V1, seeded("squeezenet1_1").state_dict())
    file.write_bytes(file.read_bytes()[:1000])

    with pytest.raises(WeightsError, match=r"could not be downloaded from .* \(invalid hash value"):
        load(SQUEEZENET, CPU)

    assert list(cache.iterdir()) == []


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

    class Half(nn.Sequential):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            logits: torch.Tensor = nn.Sequential.forward(self, images.half())  # type: ignore[no-untyped-call]
            return logits.float()

    return Half(half())


@lru_cache
def quantized() -> nn.Module:
    """Return a quantized model: integers in packed weights, and in quantized tensors."""
    model: nn.Module = torchvision.models.quantization.resnet18(quantize=True)
    return model


def int8() -> nn.Module:
    """Build a copy, as quantizing takes seconds."""
    return deepcopy(quantized())


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
    names = dict(changed.module.named_modules())
    if build is int8:
        weight, bias = names["fc"].weight(), names["fc"].bias()
        integers = weight.int_repr()
        integers[0, 0] += 1
        scales = weight.q_per_channel_scales(), weight.q_per_channel_zero_points(), weight.q_per_channel_axis()
        names["fc"].set_weight_bias(torch._make_per_channel_quantized_tensor(integers, *scales), bias)
    else:
        with torch.no_grad():
            next(changed.module.parameters()).view(-1)[0] += 1

    logits = one.module(torch.zeros(3, 3, 224, 224))

    assert len(logits) == 3
    assert one.sha256 == again.sha256 != digest_of_weights(changed.module)
    assert not any(module.training for module in one.module.modules())
    assert (one.preset, one.transform) == (PRESET, None)
    # https://pytorch.org/vision/main/models.html: 11,689,512 weights and biases, of which batch norm is folded.
    assert one.parameters == (11_684_712 if build is int8 else 32)


def test_a_model_that_takes_no_float32_is_an_error() -> None:
    """Before anything is evaluated, and what to do."""
    with pytest.raises(EvaluationError) as raised:
        load(built("half"), CPU)

    assert (
        "mine-V1: its parameters are float16, and it does not take float32 images; return the model in float32 and use "
        "--precision fp16" == str(raised.value)
    )


def no_memory() -> nn.Module:
    """Fail as Python does."""
    raise MemoryError


def no_model() -> str:
    """Return something else."""
    return "no model"


def raising() -> None:
    """Fail in the user's code."""
    open("no-such-file")  # noqa: SIM115, PTH123


@pytest.mark.parametrize(
    ("builder", "reason"),
    [
        (f"{__name__}:missing", r"'.*' cannot be imported: AttributeError: .*has no attribute 'missing' \(.*\)"),
        (
            "no_such_module:tiny",
            r"'.*' cannot be imported: ModuleNotFoundError: No module named 'no_such_module' \(.*\)",
        ),
        ("broken_builder:tiny", r"'.*' cannot be imported: SyntaxError: .*\(broken_builder.py, line 2\)"),
        ("raising_builder:tiny", r"'.*' cannot be imported: ZeroDivisionError: .* \(raising_builder.py, line 1\)"),
        (
            ".relative:tiny",
            r"must name its module from the top, such as package.module:function, found the relative '.relative:tiny'",
        ),
        (f"{__name__}:PRESET", r"'.*' must be a function, found Preset.*"),
        (f"{__name__}:raising", r"'.*' failed: FileNotFoundError: .*: 'no-such-file' \(test_models.py, line \d+\)"),
        (f"{__name__}:no_model", r"'.*' returned str, not a torch.nn.Module"),
    ],
)
def test_a_builder_that_builds_no_model_is_an_error(
    builder: str, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sentence names the builder and what is wrong with it, in one line."""
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "broken_builder.py").write_text("import torch\ndef tiny(:\n")
    (tmp_path / "raising_builder.py").write_text("1 / 0\n")

    with pytest.raises(ExpectedError, match=rf"^mine-V1: builder {reason}$"):
        load(ModelSpec("mine", "V1", builder, PRESET), CPU)


def _digest_by_hand(model: nn.Module) -> str:
    """Return the sha256 of what the documentation says is hashed."""
    parts = []
    for name, tensor in model.state_dict().items():
        array = tensor.numpy()
        parts.append(f"{name} {tensor.dtype} {array.shape}\n".encode() + array.tobytes())
    return hashlib.sha256(b"".join(parts)).hexdigest()


def test_the_digest_of_the_weights_is_that_of_their_bytes() -> None:
    """Whatever the memory format; one value off by the last bit gives another digest."""
    model = tiny()
    changed = deepcopy(model)
    with torch.no_grad():
        weight = next(changed.parameters())
        weight[0, 0, 0, 0] = torch.nextafter(weight[0, 0, 0, 0], torch.tensor(9.0))

    expected = _digest_by_hand(model)

    assert digest_of_weights(model) == expected
    assert digest_of_weights(deepcopy(model).to(memory_format=torch.channels_last)) == expected
    assert digest_of_weights(changed) != expected


@pytest.mark.parametrize(
    ("memory_format", "format_of_torch"),
    [("channels_last", torch.channels_last), ("contiguous", torch.contiguous_format)],
)
def test_the_setting_decides_the_memory_format(memory_format: str, format_of_torch: torch.memory_format) -> None:
    """Of the weights; a kernel larger than one pixel tells the two apart."""
    loaded = load(SQUEEZENET, CPU, Setting("fp32", memory_format), seeded=True)

    kernels = [module.weight for module in loaded.module.modules() if isinstance(module, nn.Conv2d)]
    assert all(kernel.is_contiguous(memory_format=format_of_torch) for kernel in kernels)


def test_seeding_leaves_the_caller_its_random_numbers() -> None:
    """A process-wide generator is put back."""
    torch.manual_seed(7)
    before = torch.random.get_rng_state()

    load(SQUEEZENET, CPU, seeded=True)

    assert torch.equal(torch.random.get_rng_state(), before)


def test_a_seeded_googlenet_is_the_one_that_is_scored() -> None:
    """With weights its constructor drops the auxiliary heads and transforms the input; speed is that model's."""
    model: Any = load(ModelSpec("googlenet", "IMAGENET1K_V1"), CPU, seeded=True).module

    assert (model.aux_logits, model.aux1, model.aux2, model.transform_input) == (False, None, None, True)


def test_a_seeded_vision_transformer_takes_the_images_of_its_weights() -> None:
    """Those of IMAGENET1K_SWAG_E2E_V1 have 384 pixels, which its constructor learns only from the weights."""
    model: Any = load(ModelSpec("vit_b_16", "IMAGENET1K_SWAG_E2E_V1"), CPU, seeded=True).module

    assert model.image_size == 384


def test_a_compiled_model_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """The module on its device is given to torch.compile, as a whole; caches are cleared first."""
    cleared: list[bool] = []
    monkeypatch.setattr(torch.compiler, "reset", lambda: cleared.append(True))
    monkeypatch.setattr(torch, "compile", lambda model, **_options: nn.Sequential(nn.Identity(), model))

    loaded = load(built("tiny"), CPU, Setting(compiled=True))

    assert cleared == [True]

    assert isinstance(loaded.module, nn.Sequential)
    assert isinstance(loaded.module[0], nn.Identity)
    assert loaded.parameters == 32


class Uncompiled(nn.Module):
    """A model that Dynamo leaves eager."""

    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return (B, 3)."""
        return images.mean(dim=(2, 3))


def test_a_model_that_dynamo_leaves_eager_is_not_a_compiled_one() -> None:
    """Its accuracy and its speed would be another's under that name."""
    model = load(built("Uncompiled"), CPU, Setting(compiled=True)).module

    normalize = Normalize(Preset(Geometry(8, 8, "bilinear"), (0.0,) * 3, (1.0,) * 3), CPU)

    with pytest.raises(EvaluationError, match=r"^the model cannot be compiled as a whole \(.+\): leave out --compile"):
        forward(model, normalize, torch.zeros((1, 8, 8, 3), dtype=torch.uint8))


def test_a_model_that_needs_contiguous_values_is_an_error_that_says_so() -> None:
    """In channels_last ``view`` fails in it; another RuntimeError of a model keeps its traceback."""
    crops, channels_last = torch.zeros((2, 8, 8, 3), dtype=torch.uint8), Setting().memory_format
    normalize = Normalize(Preset(Geometry(8, 8, "bilinear"), (0.0,) * 3, (1.0,) * 3), CPU, channels_last)

    with pytest.raises(EvaluationError, match=r"^the model calls view\(\) .*: use --memory-format contiguous, or"):
        forward(lambda images: images.view(2, -1), normalize, crops)
    contiguous = Normalize(Preset(Geometry(8, 8, "bilinear"), (0.0,) * 3, (1.0,) * 3), CPU, "contiguous")
    assert (2, 192) == forward(lambda images: images.view(2, -1), contiguous, crops).shape
    with pytest.raises(RuntimeError, match="shape"):
        forward(lambda images: images.reshape(7, 7), normalize, crops)


def test_the_last_model_is_kept_for_its_other_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is loaded once, compiled once, and forgotten when another one is wanted."""
    contiguous, compiled = Setting(memory_format="contiguous"), Setting(compiled=True)
    monkeypatch.setattr(torch, "compile", lambda model, **_options: nn.Sequential(model))
    loader = Loader(CPU, seeded=True)

    first, again = loader.load(SQUEEZENET, DEFAULT), loader.load(SQUEEZENET, DEFAULT)
    kernel: Any = first.module.get_submodule("features.0").weight
    formats = [
        loader.load(SQUEEZENET, setting) is not None and kernel.is_contiguous(memory_format=torch.channels_last)
        for setting in (contiguous, DEFAULT)
    ]
    wrapped, rewrapped = loader.load(SQUEEZENET, compiled), loader.load(SQUEEZENET, compiled)
    other = loader.load(built("tiny"), compiled)

    given = [
        loader.load(built("tiny"), DEFAULT, module).parameters for module in (nn.Conv2d(3, 1, 1), nn.Conv2d(3, 2, 1))
    ]

    assert first is again
    assert given == [4, 8]
    assert formats == [False, True]
    assert wrapped is rewrapped
    assert wrapped.module[0] is first.module  # type: ignore[index]
    assert (other.parameters, loader.load(SQUEEZENET, DEFAULT) is first) == (32, False)


def test_multiply_adds_are_known_without_loading_the_model() -> None:
    """From torchvision's metadata of the weights; a builder's model by its name; another counts as the largest."""
    gmacs = [
        gmacs_of(ModelSpec("vit_h_14", "IMAGENET1K_SWAG_E2E_V1")),
        gmacs_of(ModelSpec("vit_h_14", "IMAGENET1K_SWAG_LINEAR_V1")),
        gmacs_of(ModelSpec("vgg16", "SYNTHETIC_V1", "nowhere:vgg16", PRESET)),
        gmacs_of(ModelSpec("ours", "V1", "nowhere:ours", PRESET)),
    ]

    assert [1016.717, 167.295, 15.47, math.inf] == gmacs


def test_a_device_without_memory_for_the_model_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """In one sentence; any other error keeps its traceback."""

    def fail(error: RuntimeError) -> None:
        def to(_module: nn.Module, *_: object, **__: object) -> None:
            raise error

        monkeypatch.setattr(nn.Module, "to", to)

    fail(torch.cuda.OutOfMemoryError("CUDA out of memory"))
    with pytest.raises(DeviceError, match=r"^mine-V1: cpu ran out of memory for the model$"):
        load(built("tiny"), CPU)
    fail(RuntimeError("another"))
    with pytest.raises(RuntimeError, match=r"^another$"):
        load(built("tiny"), CPU)
    with pytest.raises(DeviceError, match=r"^mine-V1: cpu ran out of memory for the model$"):
        load(built("no_memory"), CPU)
