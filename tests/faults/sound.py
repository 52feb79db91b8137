"""Ways of running the gate that must make no difference: none may fail or warn."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Sound:
    """A run without a fault."""

    name: str  # the run in a few words
    arguments: tuple[str, ...] = ()  # arguments for pytest
    environment: dict[str, str] = field(default_factory=dict)
    stores: bool = False  # whether it keeps its decoded images


SOUND = (
    Sound("the same again"),
    *(Sound(f"batches of {size}", (f"--batch-size={size}",)) for size in (1, 2, 7, 50, 64, 128)),
    Sound("1 decoding process", ("--workers=1",)),
    Sound("3 decoding processes", ("--workers=3",)),
    Sound("1 thread", environment={"OMP_NUM_THREADS": "1"}),
    Sound("3 threads", environment={"OMP_NUM_THREADS": "3"}),
    Sound("1 thread, batches of 7", ("--batch-size=7",), {"OMP_NUM_THREADS": "1"}),
    Sound("contiguous too", ("--memory-format=channels_last,contiguous",)),
    Sound("contiguous, batches of 7", ("--memory-format=contiguous", "--batch-size=7")),
    Sound("contiguous, 1 thread", ("--memory-format=contiguous",), {"OMP_NUM_THREADS": "1"}),
    Sound("compiled too", ("--compile",)),
    Sound("compiled, contiguous", ("--compile", "--memory-format=contiguous")),
    Sound("a subset of 100", ("--limit=100",)),
    Sound("a subset of 50, batches of 3", ("--limit=50", "--batch-size=3")),
    Sound("decoded images kept", stores=True),
    Sound("decoded images read again", stores=True),
    Sound("two processes", ("-n", "2")),
    Sound("AVX2 kernels", environment={"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2"}),
)
