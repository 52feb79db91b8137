"""What arithmetic alone moves: the same weights and pixels, computed in other ways, paired image by image.

    python -m benchmarks.arithmetic_noise DATASET [--models LIST] [--limit N]

DATASET is a folder of images, or ``synthetic``. Each model is evaluated as the gate does by default, and then again as
``imagenet-gate noise`` does, in batches of 64, in bf16 and fp16, and, on a device that has no TF32, as TF32 would: with
the factors of each product and convolution rounded to 10 bits of fraction. Drift and margins are in units of the logit
scale, see harness/baseline/pairing.py, whose noise floors follow from these tables (docs/measurements/tolerance.md).
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_pre_hook

from harness.cli.noise import COMPILED, ONE_THREAD, VARIANTS, Variant, measure
from harness.dataset import SYNTHETIC, open_dataset
from harness.decoding.folder import default_store
from harness.device import describe_device, resolve_device
from harness.expected import DEFAULT_FILE, select_cases
from harness.options import Options, listed
from harness.precision import DEFAULT
from harness.records.accuracy_file import read_expected


def _rounded_to_tf32(values: Tensor) -> Tensor:
    """Round float32 values to the nearest that have 10 bits of fraction, ties to even, as tensor cores do."""
    bits = values.contiguous().view(torch.int32)
    return (bits + 0xFFF + ((bits >> 13) & 1) & ~0x1FFF).view(torch.float32).view_as(values)


def _round_factors(module: nn.Module, given: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    if not isinstance(module, (nn.Conv2d, nn.Linear)):
        return given
    with torch.no_grad():
        module.weight.copy_(_rounded_to_tf32(module.weight))  # once more changes nothing
    return (_rounded_to_tf32(given[0]),)


@contextmanager
def _as_in_tf32() -> Iterator[None]:
    """Let each convolution and each product of a model round what it multiplies."""
    with register_module_forward_pre_hook(_round_factors):  # type: ignore[arg-type]  # it may return what to pass on
        yield


def _variants(device: torch.device) -> tuple[Variant, ...]:
    return (
        *VARIANTS,
        Variant("batches of 64", batch_size=64),
        ONE_THREAD,
        COMPILED,
        Variant("tf32", {"precision": "tf32"}) if device.type == "cuda" else Variant("like tf32", around=_as_in_tf32),
        Variant("bf16", {"precision": "bf16"}),
        Variant("bf16 contiguous", {"precision": "bf16", "memory_format": "contiguous"}),
        Variant("bf16 compiled", {"precision": "bf16", "compiled": True}),
        Variant("fp16", {"precision": "fp16"}),
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", metavar="DATASET")
    parser.add_argument("--models", default="core")
    parser.add_argument("--limit", type=int)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--only", metavar="LIST", help="names of variants, comma-separated (default: all)")
    options = parser.parse_args()
    device, dataset = resolve_device(options.device), open_dataset(options.dataset)
    entries = read_expected(Path(__file__).parents[1] / DEFAULT_FILE)
    cases = select_cases(entries, listed(options.models), (DEFAULT,), synthetic=options.dataset == SYNTHETIC)
    print(f"{dataset.name}, torch {torch.__version__}, {describe_device(device)}")
    only = options.only and options.only.split(",")
    variants = [variant for variant in _variants(device) if not only or variant.name in only]
    gate = Options(device=options.device, settings=(DEFAULT,), limit=options.limit, workers=2, store=default_store())
    measure(dataset, cases, gate, variants)


if __name__ == "__main__":
    main()
