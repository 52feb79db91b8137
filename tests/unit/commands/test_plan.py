"""Tests of harness.commands.plan."""

from __future__ import annotations

import pytest

from harness.__main__ import main

PLAN = """\
To see a loss of 1 points of top-1 with a probability of 0.9:

against the published value (70 points, tolerance 0.05): {published} of 50,000 images
against a baseline, image by image, for changes as they were measured on 500 real images:

images needed by          right and wrong  a changed answer  drift  drift with 10  drift with 100  drift with 1000
libjpeg's fast DCT                      -               230      1           1.00            1.00             1.00
bilinear for bicubic                2,010               104      1           1.00            1.00             1.00
resize without antialias            5,240                82      1           1.00            1.00             1.00
crop off by one pixel               7,460                67      1           1.00            1.00             1.00
resize to 232 for 256              16,200                27      1           1.00            1.00             1.00
one image in a thousand                 -             2,302  2,302           0.01            0.10             0.63

right and wrong: exact McNemar test, p < 0.0001; -: the change cannot lose so much
a changed answer: at least one image with another best class; drift: at least one whose logits moved beyond
arithmetic, and the chance of that with so many images; both see the change itself, whatever it costs.
--limit N takes the same N images everywhere.
"""


def test_the_plan(capsys: pytest.CaptureFixture[str]) -> None:
    """All of it, as it is printed."""
    status = main(["plan", "--regression=1", "--power=0.9"])

    assert (status, capsys.readouterr().out) == (0, PLAN.format(published="27,815"))


def test_a_loss_within_the_tolerance(capsys: pytest.CaptureFixture[str]) -> None:
    """The published value cannot show it."""
    main(["plan", "--regression=0.3", "--tolerance=0.3", "--power=0.5"])

    assert "all 50,000 images are too few" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("argument", "sentence"),
    [
        ("--regression=0", "argument --regression: expected points between 0 and 100, such as 0.1, found '0'"),
        ("--regression=much", "argument --regression: expected points between 0 and 100, such as 0.1, found 'much'"),
        ("--power=1", "argument --power: expected a probability between 0 and 1, such as 0.99, found '1'"),
        ("--regression=71", "nothing can lose 71 of 70 points"),
        ("--power=nan", "argument --power: expected a probability between 0 and 1, such as 0.99, found 'nan'"),
    ],
)
def test_what_is_no_number_is_told(argument: str, sentence: str, capsys: pytest.CaptureFixture[str]) -> None:
    """By argparse, with exit status 2."""
    with pytest.raises(SystemExit) as exit_:
        main(["plan", argument])

    assert exit_.value.code == 2
    assert capsys.readouterr().err.splitlines()[-1] == f"python -m harness plan: error: {sentence}"
