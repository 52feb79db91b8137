"""One timing in two runs."""

from __future__ import annotations

from dataclasses import dataclass

from harness.gate.stats import Ratio, ratio_of_medians
from harness.reporting.timing_record import TimingRecord

# Share of the noise; docs/comparing.md has the runs that it was chosen on.
_WITHOUT_YARDSTICK = 1 / 3


@dataclass(frozen=True)
class SpeedPair:
    """A timing in two runs.

    Attributes:
        ratio: new over old seconds of the median call: above 1 is slower.
        fastest: the same of the fastest calls.
        machine: the same of the yardstick, a fixed piece of work beside the calls; None where it tells nothing.
        noise: by how much two runs of the same software may differ, as a share.
    """

    old: TimingRecord
    new: TimingRecord
    ratio: Ratio
    fastest: float
    machine: float | None
    noise: float

    @property
    def significant(self) -> bool:
        """Whether it is more than noise between calls and between runs, measured by the yardstick.

        It has to show in the fastest calls too: another job on the machine slows most calls, but seldom all; slower
        software slows all. And part of it has to show without the yardstick, which may have been disturbed itself.
        """
        lowest, highest = min(self.ratio.low, self.fastest), max(self.ratio.high, self.fastest)
        machine, by_itself = self.machine or 1.0, self.noise * _WITHOUT_YARDSTICK
        slower = lowest / machine > 1 + self.noise and lowest > 1 + by_itself
        faster = highest / machine < 1 / (1 + self.noise) and highest < 1 / (1 + by_itself)
        return slower or faster

    @property
    def change(self) -> float:
        """Of images/s, as a share: -0.1 is 10 % fewer."""
        return 1 / self.ratio.value - 1

    def failure(self, max_slowdown: float) -> str:
        """Return what makes the timing a failure; empty if nothing does."""
        longer = self.ratio.value / (self.machine or 1.0) - 1
        if self.significant and longer > max_slowdown:
            by = " by the yardstick" if self.machine else ""
            return f"takes {100 * longer:.1f} % longer{by}, allowed {100 * max_slowdown:g} %"
        return ""


def speed_pair(before: TimingRecord, after: TimingRecord, alpha: float, noise: float, *, same_numpy: bool) -> SpeedPair:
    """Return the pair.

    Args:
        alpha: of the interval, both sides together.
        noise: by how much two runs of the same software may differ, as a share.
        same_numpy: whether both runs had the same numpy; else the yardstick, which it makes, would tell of numpy.
    """
    machine = after.yardstick / before.yardstick if same_numpy and before.yardstick and after.yardstick else None
    return SpeedPair(
        old=before,
        new=after,
        ratio=ratio_of_medians(after.seconds, before.seconds, confidence=1 - alpha),
        fastest=min(after.seconds) / min(before.seconds),
        machine=machine,
        noise=noise,
    )
