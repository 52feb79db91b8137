"""How fast the machine is at the moment, by work without torch."""

from __future__ import annotations

import time
from statistics import median

import numpy as np

# Together a quarter of a second on two cores.
_SIDE = 1024
_PRODUCTS = 40


def measure_yardstick() -> float:
    """Return the seconds that numpy takes for a product of two matrices: the median of many.

    A CPU's speed depends on its temperature and on other jobs. If two runs measure the same time here, then the machine
    was as fast for both.
    """
    left, right = np.ones((2, _SIDE, _SIDE), dtype=np.float32)
    product = np.empty_like(left)
    seconds = []
    for _ in range(_PRODUCTS):
        started = time.perf_counter()
        np.matmul(left, right, out=product)
        seconds.append(time.perf_counter() - started)
    return median(seconds)
