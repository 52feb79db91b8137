"""``imagenet-gate noise``: measure how far arithmetic alone moves logits on this machine."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import msgspec

from harness.baseline.noise import NoiseFloors, noise_floor_above
from harness.baseline.pairing import NOISE_FLOORS, Side, pair
from harness.cli import Commands, add_dataset, add_models, require_writable, write_text
from harness.dataset import SYNTHETIC, ImageDataset, open_dataset
from harness.decoding.folder import default_store
from harness.expected import Case, select_cases
from harness.options import Options, listed, positive
from harness.precision import PRECISIONS, Setting
from harness.records.accuracy_file import read_expected
from harness.records.evidence import NoiseFloor, Pairing


@dataclass(frozen=True)
class Variant:
    """Another way to compute the same."""

    name: str
    setting: dict[str, Any] = field(default_factory=dict)  # what differs from the case's
    batch_size: int | None = None
    around: Callable[[], AbstractContextManager[object]] = nullcontext


@contextmanager
def _one_thread() -> Iterator[None]:
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


VARIANTS = (
    Variant("the same again"),
    Variant("batches of 1", batch_size=1),
    Variant("batches of 7", batch_size=7),
    Variant("contiguous", {"memory_format": "contiguous"}),
)
ONE_THREAD, COMPILED = Variant("one thread", around=_one_thread), Variant("compiled", {"compiled": True})


def add(commands: Commands) -> None:
    """Declare the command."""
    command = commands.add_parser(
        "noise",
        help="measure how far arithmetic alone moves logits on this machine",
        description="Evaluate models repeatedly on this machine, with other batch sizes, the other memory format, and "
        "one thread. How far the logits move is the noise of its arithmetic; pytest and compare judge drift by it if "
        "they are given --noise-floor FILE.",
    )
    add_dataset(command)
    add_models(command)
    command.add_argument("--device", metavar="DEVICE", default="auto", help="device (default: %(default)s)")
    precision = f"precision: {', '.join(PRECISIONS)} (default: %(default)s)"
    command.add_argument("--precision", metavar="P", choices=PRECISIONS, default="fp32", help=precision)
    command.add_argument("--compile", action="store_true", help="compile the models as well")
    limit = "a fixed, class-balanced subset of N images (default: %(default)s)"
    command.add_argument("--limit", metavar="N", type=positive, default=128, help=limit)
    command.add_argument("-o", "--output", metavar="FILE", type=Path, help="write the noise floor there")
    command.set_defaults(run=_measure)


def _measure(options: argparse.Namespace) -> int:
    if options.output is not None:
        require_writable("-o", options.output)
    dataset = open_dataset(options.dataset, "DATASET")
    images = min(options.limit, len(dataset))
    setting = Setting(options.precision)
    chosen = Options(
        device=options.device, settings=(setting,), limit=images, workers=options.workers, store=default_store()
    )
    entries = read_expected(options.expected)
    cases = select_cases(entries, listed(options.models), (setting,), synthetic=options.dataset == SYNTHETIC)
    from harness.evaluator import Evaluator  # imports torch

    with closing(Evaluator(dataset, chosen)) as evaluator:
        environment, on_cpu = evaluator.environment(), evaluator.device.type == "cpu"
        print(*evaluator.describe(), sep="\n")
    variants = [*VARIANTS, *([ONE_THREAD] if on_cpu else []), *([COMPILED] if options.compile else [])]
    floor = noise_floor_above(measure(dataset, cases, chosen, variants))
    print(f"\n{_text(floor, f'noise floor of {options.precision} here')}")
    print(_text(NOISE_FLOORS[options.precision], f"noise floor of {options.precision} by default"))
    if options.output is not None:
        measured = NoiseFloors(
            device=environment.cpu or "cpu" if on_cpu else environment.device or "",
            torch=environment.torch or "",
            images=images,
            models=tuple(str(case.spec) for case in cases),
            floors={options.precision: floor},
        )
        write_text("-o", options.output, msgspec.json.format(msgspec.json.encode(measured), indent=1).decode() + "\n")
        print(f"written: {options.output}")
    return 0


def _text(floor: NoiseFloor, name: str) -> str:
    return f"{name}: {floor.median:.1e} (median), {floor.largest:.1e} (largest), {100 * floor.changed:.2g}% changed"


def measure(
    dataset: ImageDataset, cases: Sequence[Case], options: Options, variants: Sequence[Variant]
) -> list[Pairing]:
    """Evaluate the cases, and again in each variant; print and return by how much these differ."""
    width = max(len(str(case.spec)) for case in cases)
    print(f"\n{'':{width}}  {'':16}  drift: median      99%   largest  changed    margin    top-5")
    found = []
    for case in cases:
        before = _evaluated(dataset, case, options, Variant("the case itself"))
        for variant in variants:
            evidence = pair(before, _evaluated(dataset, case, options, variant))
            assert isinstance(evidence, Pairing)  # the same model and images
            drift = evidence.drift
            assert drift is not None
            margin = "-" if evidence.largest_margin is None else f"{evidence.largest_margin:.1e}"
            print(
                f"{case.spec!s:{width}}  {variant.name:16}  {drift.median:13.1e}  {drift.p99:8.1e}  "
                f"{drift.largest:8.1e}  {evidence.changed:7,}  {margin:>8}  {evidence.top5_changed:7,}",
                flush=True,
            )
            found.append(evidence)
    return found


def _evaluated(dataset: ImageDataset, case: Case, options: Options, variant: Variant) -> Side:
    from harness.evaluator import Evaluator

    setting = replace(case.setting, **variant.setting)
    options = replace(options, settings=(setting,), batch_size=variant.batch_size)
    with variant.around(), closing(Evaluator(dataset, options)) as evaluator:
        evaluated = evaluator.predict(replace(case, setting=setting))
        assert evaluated is not None  # this is the only process
        return Side(*evaluated, evaluator.dataset.targets, evaluator.dataset.total, evaluator.environment())
