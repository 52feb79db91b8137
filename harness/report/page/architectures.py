"""The families of models: the year of each, and its idea."""

from __future__ import annotations

ARCHITECTURES = {
    "alexnet": (2012, "overlapping large kernels and ReLU, trained on two GPUs"),
    "vgg": (2014, "stacked 3x3 convolutions"),
    "googlenet": (2014, "inception modules with 1x1 reduction, global average pooling"),
    "inception_v3": (2015, "factorized convolutions in inception modules"),
    "resnet": (2015, "residual shortcuts"),
    "wide_resnet": (2016, "residual blocks that are wider, not deeper"),
    "squeezenet": (2016, "fire modules: 1x1 convolutions squeeze, 1x1 and 3x3 expand"),
    "densenet": (2016, "each layer sees the features of all before it"),
    "resnext": (2016, "residual blocks of many parallel paths, by grouped convolutions"),
    "mobilenet_v2": (2018, "inverted residuals with linear bottlenecks"),
    "shufflenet_v2": (2018, "channels are split and shuffled; built for measured speed, not for FLOPs"),
    "mnasnet": (2018, "architecture search on the latency of a real phone"),
    "mobilenet_v3": (2019, "search for the phone's CPU, hard swish, squeeze and excitation"),
    "efficientnet": (2019, "depth, width and resolution scaled together"),
    "efficientnet_lite": (2020, "EfficientNet without squeeze and excitation, so that it quantizes well"),
    "regnet": (2020, "widths that grow linearly: a design space instead of one design"),
    "vit": (2020, "a plain transformer on 16x16 patches"),
    "efficientnet_v2": (2021, "fused blocks, and search for speed of training"),
    "swin": (2021, "attention in windows that shift from layer to layer"),
    "swin_v2": (2021, "scaled cosine attention, positions by logarithm of the distance"),
    "convnext": (2022, "a ResNet made modern step by step, up to 7x7 depthwise convolutions"),
    "maxvit": (2022, "attention in blocks and on a grid, after each convolution"),
}
"""The year of a family's first paper, and its idea, by the beginning of torchvision's names."""


def architecture_of(model: str) -> tuple[int, str] | None:
    """Return the year and idea of a model's family, that with the longest matching name; None if it has none.

    >>> architecture_of("resnet18"), architecture_of("own")
    ((2015, 'residual shortcuts'), None)
    """
    matching = [name for name in ARCHITECTURES if model.startswith(name)]
    return ARCHITECTURES[max(matching, key=len)] if matching else None
