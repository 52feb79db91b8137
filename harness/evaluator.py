"""Evaluates cases without pytest: the evaluator that the cases of a session share, and the Python API."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from torch import nn

from harness.dataset import SYNTHETIC, ImageDataset
from harness.decoding.decoders import decoder_on
from harness.decoding.store import DecodedImages, Store
from harness.device import default_batch_size, describe_device, device_facts, keep_freed_memory, resolve_device
from harness.errors import EvaluationError, ExpectedError
from harness.expected import Case, Entry, ModelSpec, select_cases
from harness.models import Loader, geometry_of, gmacs_of
from harness.options import PILLOW, Options
from harness.precision import DEFAULT, Setting, require_supported
from harness.predict import predict
from harness.predictions import Predictions, count
from harness.prefetch import Prefetch
from harness.preset import Preset, check_against_torchvision
from harness.records.accuracy_file import default_file, read_expected
from harness.records.environment import Environment, current_environment, describe_versions
from harness.records.evidence import Bounds, Expected, Pairing, Unpaired
from harness.records.results import CaseResult, DatasetFacts, Phases
from harness.records.run_folder import write_predictions

Evidence = Bounds | Pairing | Unpaired
Check = Callable[..., Evidence | Sequence[Evidence] | None]
"""Called with the keywords ``result``, ``predictions`` and ``targets``; returns evidence."""
Progress = Callable[..., None]
"""Called with the keywords ``phase``, ``done`` and ``images``."""


class Evaluator:
    """The dataset, device and decoded pixels that cases share; call ``close`` when done."""

    def __init__(self, dataset: ImageDataset, options: Options) -> None:
        """Open the device; a HarnessError says that it does not exist or does not support a precision or the decoder.

        ``options.limit`` selects a subset of ``dataset``, and ``options.process`` this process's part of it.
        """
        self.options = options
        self.device = resolve_device(options.device)
        require_supported([setting.precision for setting in options.settings], self.device)
        self.dataset = dataset if options.limit is None else dataset.subset(options.limit)
        self.shard = self.dataset.shard(options.process.rank, options.process.world_size)
        self._decoder = decoder_on(options.decoder, self.device)
        if self.device.type == "cpu":
            keep_freed_memory()
        self._batch_size = options.batch_size or default_batch_size(self.device)
        self._prefetch, self._loader = Prefetch(self.device), Loader(self.device)
        self._store = Store(self.shard, self._decoder, options.store, options.decoding_processes)

    def close(self) -> None:
        """Stop decoding, and remove decoded images that are not kept."""
        self._store.close()

    def environment(self) -> Environment:
        """Return the versions and hardware."""
        return current_environment(device_facts(self.device), self.options)

    def dataset_facts(self) -> DatasetFacts:
        """Return what is evaluated."""
        dataset = self.dataset
        classes = len(np.unique(dataset.targets))
        return DatasetFacts(dataset.name, dataset.digest, len(dataset), dataset.total, classes, dataset.classes)

    def describe(self) -> list[str]:
        """Return lines that say what is evaluated, on which device, and with which versions."""
        dataset, options = self.dataset, self.options
        images = f"{f'{len(dataset):,} of ' if len(dataset) < dataset.total else ''}{dataset.total:,} images"
        lines = [f"dataset: {dataset.name} ({dataset.root}), {images}, {len(np.unique(dataset.targets)):,} classes"]
        if dataset.caveat:
            lines.append(f"dataset: not judged as the published one: {dataset.caveat}")
        if ignored := dataset.ignored:
            lines.append(f"dataset: ignored {len(ignored):,} files that are not images, such as {ignored[0]}")
        settings = ", ".join(map(str, options.settings))
        found = ", no GPU found" if options.device == "auto" and self.device.type == "cpu" else ""
        processes = f", {options.process.total} processes" if options.process.total > 1 else ""
        decoding = f"on {self._decoder.device}" if self._decoder.device else f"--workers {options.decoding_processes}"
        kept = f"kept in {options.store}" if options.store else "not kept"
        return [
            *lines,
            f"device: {describe_device(self.device)}{found}, {settings}, batches of {self._batch_size}{processes}",
            f"decoder: {self._decoder.name}, {decoding}, decoded images {kept}",
            f"versions: {describe_versions()}",
        ]

    def order(self, cases: Sequence[Case]) -> list[Case]:
        """Return the cases in an order that keeps those of one geometry together, so that each is decoded once.

        Where several processes evaluate separate cases, larger models come first, so that no process is left with a
        large one at the end.

        Raises:
            ExpectedError: torchvision does not know a model or its weights; with the entry's position in the file.
        """
        geometries: dict[Any, list[Case]] = {}
        for case in cases:
            try:
                geometries.setdefault(geometry_of(case.spec), []).append(case)
            except ExpectedError as error:
                raise ExpectedError(f"{case.entry.where}: {error}") from error
        ordered = [case for together in geometries.values() for case in together]
        if self.options.process.shares_cases:
            ordered.sort(key=lambda case: -gmacs_of(case.spec))
        return ordered

    def crops(self, spec: ModelSpec, progress: Callable[[int, int], None] = lambda *_: None) -> DecodedImages:
        """Return the pixels of this process's images in the model's geometry; they may still be decoded."""
        return self._store.decoded(geometry_of(spec), progress)

    def predict(
        self, case: Case, progress: Progress = lambda **_: None, module: nn.Module | None = None
    ) -> tuple[CaseResult, Predictions] | None:
        """Return the result of this process's images, without evidence, and their predictions; None without images.

        ``module``, if given, is evaluated instead of the model that the case names.

        Raises:
            HarnessError: its weights, images or logits cannot be used.
        """
        if not len(self.shard):
            return None
        started = time.perf_counter()
        setting, spec = case.setting, case.spec
        crops = self.crops(spec, lambda done, images: progress(phase="decoding", done=done, images=images))
        crops.begin()  # while the weights are loaded
        self._prefetch.keep_only(crops)
        begun = time.perf_counter()
        model = self._loader.load(spec, setting, module)
        loaded = time.perf_counter()
        crops.finish()  # before the loop, whose images/s would otherwise be the decoder's, or exclude the device's work
        decoded = time.perf_counter()
        if model.transform is not None and self._decoder.name == PILLOW:
            for index in np.random.default_rng().permutation(len(self.shard))[:8].tolist():  # different each time
                [crop], encoded = crops.read(slice(index, index + 1)), self.shard.sources[index].read()
                check_against_torchvision(model.preset, model.transform, crop, encoded, self.shard.ids[index])
        loop = predict(
            model.module,
            crops,
            model.preset,
            prefetch=self._prefetch,
            batch_size=self._batch_size,
            classes=len(self.dataset.classes),
            setting=setting,
            progress=lambda done, images: progress(phase="forward", done=done, images=images),
        )
        notes = list(crops.notes())
        if (used := loop.batch_size) != self._batch_size:
            notes.insert(0, f"out of memory in batches of {self._batch_size}: evaluated in batches of {used}")
        result = CaseResult(
            id=str(case),
            model=spec.model,
            weights=spec.weights,
            precision=setting.precision,
            memory_format=setting.memory_format,
            compiled=setting.compiled,
            dataset=self.dataset.name,
            counts=count(loop.predictions, self.shard.targets),
            batch_size=loop.batch_size,
            parameters=model.parameters,
            gmacs=model.gmacs,
            seconds=Phases(
                decode=decoded - loaded,
                load=loaded - begun,
                transfer=loop.transfer,
                forward=loop.seconds - loop.transfer,
                total=time.perf_counter() - started,
            ),
            images_per_second=len(self.shard) / loop.seconds,
            weights_sha256=model.sha256,
            inputs_digest=loop.predictions.inputs_digest,
            preparation={"decoder": self._decoder.name, **model.preset.facts()},
            switches=dict(loop.switches),
            first_input=dict(loop.first_input),
            notes=tuple(notes),
        )
        return result, loop.predictions

    def with_evidence(
        self,
        case: Case,
        result: CaseResult,
        predictions: Predictions,
        checks: Iterable[Check] = (),
        staging: Path | None = None,
    ) -> CaseResult:
        """Return the result of all images with its evidence; write the predictions to ``staging``, if given.

        Raises:
            EvaluationError: a check gave no finite number, or two paired the case with a baseline.
        """
        expected, unpublished = _published_on(case.entry, self.dataset, case.setting.precision)
        result = msgspec.structs.replace(result, expected=expected, unpublished=unpublished)
        for check in checks:
            found = check(result=result, predictions=predictions, targets=self.dataset.targets)
            for evidence in found if isinstance(found, Sequence) else [found]:
                result = result if evidence is None else _added(result, evidence)
        if staging is not None:
            write_predictions(staging, result.id, predictions, self.dataset.targets)
        return result


def _added(result: CaseResult, evidence: Evidence) -> CaseResult:
    if isinstance(evidence, Bounds):
        if not math.isfinite(evidence.value):
            raise EvaluationError(f"{result.id}: the check {evidence.name!r} gave {evidence.value}, not a number")
        return msgspec.structs.replace(result, bounds=(*result.bounds, evidence))
    if not isinstance(evidence, (Pairing, Unpaired)):
        raise EvaluationError(f"{result.id}: a check must return Bounds, found {type(evidence).__name__}")
    if result.baseline is not None:
        raise EvaluationError(f"{result.id}: two checks paired it with a baseline; one of them must return Bounds")
    return msgspec.structs.replace(result, baseline=evidence)


def _published_on(entry: Entry, dataset: ImageDataset, precision: str) -> tuple[Expected | None, str]:
    """Return what the whole dataset should give; None, and why, if nothing was published for it."""
    expected = entry.expected_on(dataset.name, precision)
    if expected is not None and expected.counts.images == dataset.total:
        return expected, ""
    size = f" with {dataset.total:,} images, only with {expected.counts.images:,}" if expected else ""
    caveat = f" ({dataset.caveat})" if dataset.caveat else ""
    known = ", ".join(entry.expected) or "no dataset"
    return None, f"none for {entry.spec} on {dataset.name}{size}{caveat}; published for {known}"


def evaluate(
    model: str | nn.Module,
    dataset: ImageDataset,
    *,
    preset: Preset | None = None,
    setting: Setting = DEFAULT,
    checks: Iterable[Check] = (),
    expected: Path | None = None,
    device: str = "auto",
    batch_size: int | None = None,
    decoder: str = PILLOW,
    workers: int | None = None,
    store: Path | None = None,
) -> tuple[CaseResult, Predictions]:
    """Evaluate one model on a dataset; the result's ``verdict`` compares it with the published values.

    Args:
        model: the name or id of a model in the file of expected accuracies; or a module, which is put in eval mode and
            moved to the device.
        dataset: the images, from ``open_dataset``; its ``subset`` method takes some of them.
        preset: how a module's input is prepared; a named model brings its own.
        setting: precision, memory format, and eager or compiled.
        checks: further checks, see ``Check``.
        expected: the file of expected accuracies, by default that of ``default_file``; a module has no entry.
        device, batch_size, decoder, workers, store: as in ``harness.options.Options``.

    Returns:
        The result, and the predictions for each image.

    Raises:
        HarnessError: the model, the images or the device cannot be used.
    """
    options = Options(
        settings=(setting,), device=device, batch_size=batch_size, decoder=decoder, workers=workers, store=store
    )
    module = model if isinstance(model, nn.Module) else None
    if module is not None:
        if preset is None:
            raise ExpectedError(
                "preset must be given with a module, such as preset_of(weights.transforms()); found None"
            )
        case = Case(Entry(ModelSpec(type(module).__name__, "GIVEN", builder="given", preset=preset)), setting)
    else:
        if preset is not None:
            raise ExpectedError(f"preset is for a module; {model} brings its own: leave it out")
        entries = read_expected(expected or default_file(Path()))
        [case, *others] = select_cases(entries, (str(model),), (setting,), synthetic=dataset.name == SYNTHETIC)
        if others:
            raise ExpectedError(f"model must name one model, found {', '.join(map(str, [case, *others]))}")
    with closing(Evaluator(dataset, options)) as evaluator:
        evaluated = evaluator.predict(case, module=module)
        assert evaluated is not None  # a dataset is not empty, and this is the only process
        result, predictions = evaluated
        return evaluator.with_evidence(case, result, predictions, checks), predictions
