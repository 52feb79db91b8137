"""The commands of ``imagenet-gate``, one module each: ``add`` declares its options, the rest carries it out."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    Commands: TypeAlias = argparse._SubParsersAction[argparse.ArgumentParser]
