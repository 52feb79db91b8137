"""The families of models: when each came, and the idea that made it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Architecture:
    """A family of models.

    Attributes:
        year: of the paper, as it was first published.
        idea: the one that made it.
    """

    year: int
    idea: str


ARCHITECTURES = {
    "alexnet": Architecture(2012, "overlapping large kernels and ReLU, trained on two GPUs"),
    "vgg": Architecture(2014, "stacked 3x3 convolutions"),
    "googlenet": Architecture(2014, "inception modules with 1x1 reduction, global average pooling"),
    "inception_v3": Architecture(2015, "factorized convolutions in inception modules"),
    "resnet": Architecture(2015, "residual shortcuts"),
    "wide_resnet": Architecture(2016, "residual blocks that are wider, not deeper"),
    "squeezenet": Architecture(2016, "fire modules: 1x1 convolutions squeeze, 1x1 and 3x3 expand"),
    "densenet": Architecture(2016, "each layer sees the features of all before it"),
    "resnext": Architecture(2016, "residual blocks of many parallel paths, by grouped convolutions"),
    "mobilenet_v2": Architecture(2018, "inverted residuals with linear bottlenecks"),
    "shufflenet_v2": Architecture(2018, "channels are split and shuffled; built for measured speed, not for FLOPs"),
    "mnasnet": Architecture(2018, "architecture search on the latency of a real phone"),
    "mobilenet_v3": Architecture(2019, "search for the phone's CPU, hard swish, squeeze and excitation"),
    "efficientnet": Architecture(2019, "depth, width and resolution scaled together"),
    "efficientnet_lite": Architecture(
        2020, "EfficientNet without what quantizes badly, such as squeeze and excitation"
    ),
    "regnet": Architecture(2020, "widths that grow linearly: a design space instead of one design"),
    "vit": Architecture(2020, "a plain transformer on 16x16 patches"),
    "efficientnet_v2": Architecture(2021, "fused blocks, and search for speed of training"),
    "swin": Architecture(2021, "attention in windows that shift from layer to layer"),
    "swin_v2": Architecture(2021, "scaled cosine attention, positions by logarithm of the distance"),
    "convnext": Architecture(2022, "a ResNet made modern step by step, up to 7x7 depthwise convolutions"),
    "maxvit": Architecture(2022, "attention in blocks and on a grid, after each convolution"),
}
"""By the beginning of torchvision's names, the longest that fits."""


def architecture_of(model: str) -> Architecture | None:
    """Return the family of a model; None for one that is not known.

    >>> architecture_of("efficientnet_v2_s").year, architecture_of("efficientnet_b0").year
    (2021, 2019)
    >>> architecture_of("swin_v2_t") == ARCHITECTURES["swin_v2"], architecture_of("own")
    (True, None)
    """
    fitting = [name for name in ARCHITECTURES if model == name or model.startswith(name)]
    return ARCHITECTURES[max(fitting, key=len)] if fitting else None
