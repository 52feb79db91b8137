"""Run by every Python process that has this folder and the project on its path: plants the fault that is named."""

import os
import sys

if "IMAGENET_GATE_FAULT" in os.environ:
    try:
        from tests.faults.plant import plant

        plant(os.environ["IMAGENET_GATE_FAULT"])
    except BaseException as error:  # whatever went wrong, a run without the fault must not pass for one with it
        sys.stderr.write(f"no fault was planted: {error!r}\n")
        sys.stderr.flush()
        os._exit(3)
