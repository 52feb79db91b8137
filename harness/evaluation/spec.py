"""Which model is meant; no torch, so that tests can be collected from it."""

from __future__ import annotations

from dataclasses import dataclass

from harness.data.preset import Preset


@dataclass(frozen=True)
class ModelSpec:
    """A model and its weights by name.

    Attributes:
        model: torchvision's name, or any name for a model with a builder.
        weights: the member of torchvision's weights enum, or any name for a model with a builder.
        builder: ``module:function`` that returns the model with its weights loaded; None for torchvision's own.
        preset: what a built model expects; None for torchvision's own, which bring theirs.
    """

    model: str
    weights: str
    builder: str | None = None
    preset: Preset | None = None

    def __str__(self) -> str:
        return f"{self.model}-{self.weights}"


@dataclass(frozen=True)
class ModelFacts:
    """What a loaded model is, without the model.

    Attributes:
        preset: what it expects of its input.
        parameters: number of weights and biases.
        gflops: multiply-adds of one image, in 10^9.
        sha256: of all parameters and buffers, as they are on the host.
        weights_bytes: theirs.
    """

    preset: Preset
    parameters: int
    gflops: float
    sha256: str
    weights_bytes: int = 0
