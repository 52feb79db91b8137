"""Evidence about a timing in two runs or in several, which ``verdict.py`` judges."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

import msgspec

if TYPE_CHECKING:
    from harness.records.results import TimingResult

_UNSTEADY, _ENOUGH_CALLS = 0.1, 10
"""A timing that varied by more, as a share, was disturbed; calls that show whether a warm-up has settled."""


class Limits(NamedTuple):
    """How much more than before a timing may take, as shares: of time, of peak memory, of time to compile."""

    speed: float = 0.05
    memory: float = 0.10
    compile: float = 0.25


LIMITS = Limits()  # the defaults


def amounts_of(timings: Sequence[TimingResult]) -> dict[str, list[float]]:
    """Return what a timing took in several runs, by the kinds that all runs know: seconds an image, bytes, seconds.

    Memory and the time to compile are those of a batch, and so are left out if batches of other sizes were timed.
    """
    speed = {"speed": [timing.median / timing.batch_size for timing in timings]}
    if len({timing.batch_size for timing in timings}) > 1:
        return speed
    memory = [float(timing.peak_memory or 0) for timing in timings]
    known = {"memory": memory, "compile": [timing.compile_seconds or 0.0 for timing in timings]}
    return speed | {kind: values for kind, values in known.items() if all(values)}


def disturbances(timing: TimingResult) -> Iterator[str]:
    """Yield why a timing is no evidence of speed, by what it recorded itself."""
    if timing.spread > _UNSTEADY:
        yield f"the interquartile range of the calls is {100 * timing.spread:.0f}% of the median"
    # A few long calls cannot show whether it was stable.
    if not timing.warm_up.get("stable", True) and timing.warm_up.get("calls", 0) > _ENOUGH_CALLS:
        yield f"not stable after {timing.warm_up.get('seconds', 0):.1f} s of warm-up"
    if timing.yardsticks and (share := max(timing.yardsticks) / min(timing.yardsticks) - 1) > _UNSTEADY:
        yield f"the yardstick's speed changed by {100 * share:.0f}% meanwhile"
    if isinstance(reasons := (timing.clocks or {}).get("throttled"), list):
        # Many a GPU always runs at its power cap or at set clocks; slowed down by heat or hardware it is another one.
        yield from (f"throttled by {found}" for found in reasons if "slowdown" in str(found) or "brake" in str(found))


class SpeedChange(msgspec.Struct, frozen=True):
    """Evidence about one timing in two runs: by default about its speed."""

    ratio: float  # new over old seconds of the median call: above 1 is slower
    low: float  # lower end of the ratio's interval
    high: float  # upper end of the ratio's interval
    fastest: float  # new over old seconds of the fastest call
    machine: float | None  # new over old seconds of the yardstick beside the calls; None if not known
    noise: float  # by how much two runs of the same software may differ, as a share
    disturbed: str = ""  # why one of the two timings is no evidence; empty if both are
    kind: str = "speed"  # what was measured, a field of Limits: the ratio is that of memory, or of time to compile

    @property
    def change(self) -> float:
        """The change of images/s, as a share: -0.1 is 10% fewer."""
        return 1 / self.ratio - 1

    @property
    def visible(self) -> float:
        """The smallest share by which a call could take longer and be significant, with calls that vary as these."""
        return (1 + self.noise) * self.ratio / min(self.low, self.ratio) - 1

    @property
    def is_significant(self) -> bool:
        """Whether the change is more than noise between calls and between runs, as measured by the yardstick.

        It must show in the fastest calls too: another job on the machine slows most calls, but seldom all; slower
        software slows all. And a third of it must show without the yardstick, which may have been disturbed itself
        (docs/measurements/run_noise.md has the runs on which these were chosen).
        """
        lowest, highest = min(self.low, self.fastest), max(self.high, self.fastest)
        machine, by_itself = self.machine or 1.0, self.noise / 3
        slower = lowest / machine > 1 + self.noise and lowest > 1 + by_itself
        faster = highest / machine < 1 / (1 + self.noise) and highest < 1 / (1 + by_itself)
        return slower or faster


class SpeedTrial(msgspec.Struct, frozen=True):
    """Evidence about one timing in several runs per side, paired in the order in which they were made."""

    pairs: int  # runs of each side
    ratio: float  # new over old seconds of the median call, the geometric mean of the pairs
    low: float  # lower end of the ratio's interval, from the differences between the pairs
    high: float  # upper end of the ratio's interval
    kind: str = "speed"  # as of SpeedChange

    @property
    def is_significant(self) -> bool:
        """Whether the change is more than noise."""
        return self.low > 1 or self.high < 1
