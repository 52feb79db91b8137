"""Print pip's constraints that keep what is under test as it is, as far as it is installed; of any Python, alone."""

from __future__ import annotations

from importlib import metadata

if __name__ == "__main__":
    found = {each.name.lower(): each.version for each in metadata.distributions() if each.name}
    for name in ("torch", "torchvision", "numpy", "pillow"):
        if name in found:
            print(f"{name}=={found[name]}")
