"""How a forward pass is carried out; no torch, so that cases can be named and compared without it."""

from __future__ import annotations

from dataclasses import dataclass

CHANNELS_LAST = "channels_last"
MEMORY_FORMATS = {CHANNELS_LAST: "channels_last", "contiguous": "contiguous_format"}
"""The memory formats as given to ``--memory-format``, and torch's names for them."""


@dataclass(frozen=True)
class Setting:
    """What may change a model's speed, and its logits in the last digits.

    >>> str(Setting()), str(Setting("fp32", "contiguous", compiled=True))
    ('fp32', 'fp32-contiguous-compiled')

    Attributes:
        precision: a name in ``PRECISIONS``.
        memory_format: a name in ``MEMORY_FORMATS``, of weights and activations.
        compiled: whether the model is compiled by ``torch.compile``.
    """

    precision: str = "fp32"
    memory_format: str = CHANNELS_LAST
    compiled: bool = False

    def __str__(self) -> str:
        memory_format = "" if self.memory_format == CHANNELS_LAST else f"-{self.memory_format}"
        return f"{self.precision}{memory_format}{'-compiled' if self.compiled else ''}"


DEFAULT = Setting()
"""What the published values were measured with, in the memory format that is fastest."""
