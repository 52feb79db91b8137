"""What a device computes: normalization, precisions, rounding, and the order of equal logits."""

from __future__ import annotations

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.benchmark import Timer

from harness.errors import DeviceError
from harness.precision import MEMORY_FORMATS, PRECISIONS, applied, observe, require_supported
from harness.predict import Normalize
from harness.preset import Geometry, Preset
from tests.gpu.conftest import MEAN, STD, Record, images

pytestmark = pytest.mark.gpu
PRESETS = [
    Preset(Geometry(224, 224, "bilinear"), MEAN, STD),
    Preset(Geometry(224, 224, "bicubic"), (0.5,) * 3, (0.5,) * 3),
]


def _supported(precision: str, device: torch.device) -> None:
    try:
        require_supported([precision], device)
    except DeviceError as error:
        pytest.skip(str(error))


@pytest.mark.parametrize("preset", PRESETS, ids=["imagenet", "half"])
@pytest.mark.parametrize("memory_format", list(MEMORY_FORMATS))
def test_normalization_has_the_bits_of_the_cpu(preset: Preset, memory_format: str, device: torch.device) -> None:
    """So a digest of the first input means the same on each device."""
    crops = torch.from_numpy(images(64).images)

    there = Normalize(preset, device, memory_format)(crops.to(device)).cpu()

    assert torch.equal(there, Normalize(preset, torch.device("cpu"), memory_format)(crops))


@pytest.mark.parametrize("precision", list(PRECISIONS))
def test_products_convolutions_and_attention_keep_the_precision(
    precision: str, device: torch.device, record_property: Record
) -> None:
    """As the gate observes it before each case; and so does each backend of attention that can run, one at least."""
    _supported(precision, device)

    seen = {}
    with applied(PRECISIONS[precision], device) as switches:
        for name in ("MATH", "FLASH_ATTENTION", "EFFICIENT_ATTENTION", "CUDNN_ATTENTION"):
            try:
                with sdpa_kernel(getattr(SDPBackend, name)):
                    seen[name] = observe(device)["attention"]
                record_property(name, seen[name])
            except RuntimeError as error:
                record_property(name, f"cannot run: {str(error).partition(chr(10))[0][:60]}")

    for name in ("product", "convolution", "3x3 convolution", "attention"):
        record_property(name, switches[name])
    assert seen
    assert all(bits >= PRECISIONS[precision].bits for _, bits in seen.values())


def test_tf32_rounds_its_factors(gpu: torch.device, record_property: Record) -> None:
    """To the nearest of 10 bits, or toward zero: the noise floor of TF32 covers both."""
    _supported("tf32", gpu)
    value = 1 + 2.0**-11 + 2.0**-12  # between 1 and 1 + 2^-10, nearer to the latter
    one, large = torch.eye(64, device=gpu), torch.eye(2048, device=gpu)
    image, kernel = torch.full((1, 64, 8, 8), value, device=gpu), one.view(64, 64, 1, 1)
    padded = torch.nn.functional.pad(kernel, (1, 1, 1, 1))
    last = torch.channels_last
    with applied(PRECISIONS["tf32"], gpu), torch.inference_mode():
        products = {
            "product": torch.mm(one * value, one),
            "product of a large matrix": torch.mm(large * value, large),
            "convolution": torch.conv2d(image, kernel),
            "3x3 convolution": torch.conv2d(image, padded),
            "3x3 convolution, channels_last": torch.conv2d(image.to(memory_format=last), padded.to(memory_format=last)),
        }

    kinds = {1 + 2.0**-10: "to the nearest", 1.0: "toward zero", value: "not at all"}
    found = {name: float(product.flatten()[0]) for name, product in products.items()}
    for name, first in found.items():
        record_property(name, kinds.get(first, first))
    assert {*found.values()} <= kinds.keys()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_equal_logits_are_ordered_as_on_the_cpu(
    dtype: torch.dtype, device: torch.device, record_property: Record
) -> None:
    """By the lowest class; and what that costs, against topk."""
    logits = torch.randn(256, 1000, generator=torch.Generator().manual_seed(0)).mul_(2).to(dtype).float()
    moved = logits.to(device)

    there = _order(moved)

    assert torch.equal(_order(logits), there.cpu())
    record_property("differs from topk in", int((moved.topk(6).indices != there[:, :6]).any(dim=1).sum()))
    for name, work in (("sort", _order), ("topk", lambda logits: logits.topk(6, dim=1))):
        timer = Timer("work(logits)", globals={"work": work, "logits": moved})
        record_property(f"microseconds of {name}", round(timer.timeit(30).mean * 1e6, 1))


def _order(logits: torch.Tensor) -> torch.Tensor:
    return logits.sort(dim=1, descending=True, stable=True).indices
