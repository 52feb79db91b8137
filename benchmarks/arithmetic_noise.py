"""What arithmetic alone moves: the same weights and pixels, computed in other ways, paired image by image.

    python -m benchmarks.arithmetic_noise DATASET [--models LIST] [--limit N]

DATASET is a folder of images, or ``synthetic``. Each model is evaluated as the gate does by default, and then again:
the same once more, in batches of 1, 7 and 64, on one thread, contiguous, compiled, in bf16 and fp16, and, on a device
that has no TF32, as TF32 would: with the factors of each product and convolution rounded to 10 bits of fraction. Drift
and margins are in units of the logit scale, see harness/baseline/pairing.py. The noise floors of
harness/baseline/pairing.py follow from these tables (docs/measurements/tolerance.md).
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from harness.baseline.pairing import Side, pair
from harness.dataset import SYNTHETIC, ImageDataset, open_dataset
from harness.decoding.store import DecodedImages, Store
from harness.device import default_batch_size, describe_device, keep_freed_memory, resolve_device
from harness.expected import DEFAULT_FILE, Case, select_cases
from harness.models import geometry_of, load
from harness.options import Decoder
from harness.precision import DEFAULT, Setting
from harness.predict import predict
from harness.predictions import count
from harness.prefetch import Prefetch
from harness.records.accuracy_file import read_expected
from harness.records.environment import Environment
from harness.records.evidence import Pairing
from harness.records.results import CaseResult


@dataclass(frozen=True)
class Variant:
    """Another way to compute the same."""

    name: str
    setting: Setting = DEFAULT
    batch_size: int | None = None
    around: Callable[[], AbstractContextManager[object]] = nullcontext
    change: Callable[[nn.Module], object] = nn.Module.eval


@contextmanager
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _rounded_to_tf32(values: Tensor) -> Tensor:
    """Round float32 values to the nearest that have 10 bits of fraction, ties to even, as tensor cores do."""
    bits = values.contiguous().view(torch.int32)
    return (bits + 0xFFF + ((bits >> 13) & 1) & ~0x1FFF).view(torch.float32).view_as(values)


def _as_in_tf32(model: nn.Module) -> None:
    """Let each convolution and each product of the model round what it multiplies."""
    for module in model.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            with torch.no_grad():
                module.weight.copy_(_rounded_to_tf32(module.weight))
            module.register_forward_pre_hook(lambda _module, given: (_rounded_to_tf32(given[0]),))


def _variants(device: torch.device) -> tuple[Variant, ...]:
    return (
        Variant("the same again"),
        Variant("batches of 1", batch_size=1),
        Variant("batches of 7", batch_size=7),
        Variant("batches of 64", batch_size=64),
        Variant("one thread", around=_one_thread),
        Variant("contiguous", Setting(memory_format="contiguous")),
        Variant("compiled", Setting(compiled=True)),
        Variant("tf32", Setting("tf32")) if device.type == "cuda" else Variant("like tf32", change=_as_in_tf32),
        Variant("bf16", Setting("bf16")),
        Variant("bf16 contiguous", Setting("bf16", "contiguous")),
        Variant("bf16 compiled", Setting("bf16", compiled=True)),
        Variant("fp16", Setting("fp16")),
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
    device = resolve_device(options.device)
    keep_freed_memory()
    dataset = open_dataset(options.dataset)
    dataset = dataset.subset(options.limit) if options.limit else dataset
    entries = read_expected(Path(__file__).parents[1] / DEFAULT_FILE)
    cases = select_cases(entries, options.models.split(","), (DEFAULT,), synthetic=options.dataset == SYNTHETIC)
    print(f"{len(dataset):,} images of {dataset.name}, torch {torch.__version__}, {describe_device(device)}")
    print(f"{'':34}  {'median':>8}  {'p99':>8}  {'largest':>8}  {'changed':>7}  {'margin':>8}  {'top-5':>5}")
    with Store(dataset, Decoder(), None, workers=2) as store:
        for case in cases:
            decoded = store.decoded(geometry_of(case.spec), lambda *_: None)
            decoded.finish()
            before = _evaluated(case, Variant("the default"), decoded, dataset, device)
            for variant in _variants(device):
                if options.only and variant.name not in options.only.split(","):
                    continue
                with variant.around():
                    after = _evaluated(case, variant, decoded, dataset, device)
                paired = pair(before, after)
                assert isinstance(paired, Pairing)
                print(f"{case.spec.model:17} {variant.name:16}  {_text(paired)}", flush=True)


def _evaluated(
    case: Case, variant: Variant, decoded: DecodedImages, dataset: ImageDataset, device: torch.device
) -> Side:
    model = load(case.spec, device, variant.setting)
    variant.change(model.module)
    loop = predict(
        model.module,
        decoded,
        model.preset,
        prefetch=Prefetch(device),
        batch_size=variant.batch_size or default_batch_size(device),
        classes=len(dataset.classes),
        setting=variant.setting,
    )
    result = CaseResult(
        id=str(case),
        model=case.spec.model,
        weights=case.spec.weights,
        precision=variant.setting.precision,
        memory_format=variant.setting.memory_format,
        compiled=variant.setting.compiled,
        dataset=dataset.name,
        counts=count(loop.predictions, dataset.targets),
        inputs_digest=loop.predictions.inputs_digest,
    )
    return Side(result, loop.predictions, dataset.targets, dataset.total, Environment())


def _text(paired: Pairing) -> str:
    assert paired.drift is not None
    margin = "-" if paired.largest_margin is None else f"{paired.largest_margin:.1e}"
    drift = f"{paired.drift.median:8.1e}  {paired.drift.p99:8.1e}  {paired.drift.largest:8.1e}"
    return f"{drift}  {paired.changed:7,}  {margin:>8}  {paired.top5_changed:5,}"


if __name__ == "__main__":
    main()
