"""What ``-m`` asks for, and the options that do not go with it."""

from __future__ import annotations

import pytest
from _pytest.mark.expression import Expression

from harness.summary import ACCURACY, THROUGHPUT

# Options that only some tests heed.
_NEEDS = {
    "--imagenet": (ACCURACY, THROUGHPUT),
    "--batch-size": (ACCURACY,),
    "--limit": (ACCURACY,),
    "--batch-sizes": (THROUGHPUT,),
    "--results": (ACCURACY, THROUGHPUT),
    "--baseline": (ACCURACY,),
    "--baseline-update": (ACCURACY,),
    "--baseline-accept-failed": (ACCURACY,),
    "--strict-drift": (ACCURACY,),
    "--rank-timeout": (ACCURACY,),
}


def is_selected(config: pytest.Config, mark: str) -> bool:
    """Tell whether ``-m`` asks for the tests that bear this mark, among others perhaps; without ``-m`` it does not."""
    return selects(config, {mark}) and not selects(config, set())


def selects(config: pytest.Config, marks: set[str]) -> bool:
    """Tell whether ``-m`` selects a test that bears exactly these marks."""
    expression = config.getoption("markexpr")
    try:
        return not expression or Expression.compile(expression).evaluate(lambda name, /, **_: name in marks)
    except SyntaxError as error:
        raise pytest.UsageError(f"wrong expression after -m: {expression!r}: {error}") from error


def refuse_what_does_not_fit(config: pytest.Config, selected: set[str]) -> None:
    """Refuse combinations of options of which one would be ignored in silence."""
    given = [arg.partition("=")[0] for arg in config.invocation_params.args]
    if ACCURACY in selected and not config.getoption("imagenet"):
        raise pytest.UsageError(
            f"-m {ACCURACY} needs an image set: give --imagenet DIR (or set IMAGENET_DIR) for ImageNet's validation "
            "set in class folders, or --imagenet embedded for images that need no download"
        )
    for option, marks in _NEEDS.items():
        if option in given and not selected.intersection(marks):
            add = " or ".join(f"-m {mark}" for mark in marks)
            raise pytest.UsageError(f"{option} was given, but no test is selected that heeds it: add {add}")
    if THROUGHPUT in selected and (config.getoption("dist", "no") != "no" or hasattr(config, "workerinput")):
        raise pytest.UsageError(
            f"-m {THROUGHPUT} times one model at a time; processes beside each other would time one another: "
            "leave out -n"
        )
