"""Imported by the forkserver before anything else: it ends with the gate, though it may be importing for seconds.

It ends with the thread that started it; where the system cannot do that, once all is imported.
"""

from __future__ import annotations

import ctypes
import signal
import sys

_PR_SET_PDEATHSIG = 1  # linux/prctl.h

if sys.platform == "linux":
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
