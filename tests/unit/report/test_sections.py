"""Tests of harness.report.sections."""

from __future__ import annotations

import pytest

from harness.report.sections import Section, as_markdown, by_cause, disturbed_note, table_of

TABLE = table_of([[("<case", "alexnet"), ("images", "1,234")]])
SECTION = Section("2 cases | <b>", TABLE, ("first_line", "    # deeper"))


@pytest.mark.parametrize(
    ("columns", "lines"),
    [
        ("15", ["case     images", "alexnet   1,234"]),
        ("14", ["case", "  images", "alexnet", "   1,234"]),
    ],
)
def test_a_row_that_is_too_wide_for_the_terminal_has_two_lines(
    columns: str, lines: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """All its cells are kept, and stand under their headings."""
    monkeypatch.setenv("COLUMNS", columns)

    assert lines == list(Section("", TABLE).body())


def test_markdown_escapes_and_nests() -> None:
    """What a name holds is shown; a line that is indented belongs to the one above."""
    assert [
        r"### 2 cases \| \<b\>",
        "",
        "| case | images |",
        "| :-- | --: |",
        "| alexnet | 1,234 |",
        "",
        r"- first\_line",
        r"  - \# deeper",
        "",
    ] == list(as_markdown([SECTION]))


def test_timings_disturbed_alike_share_a_sentence() -> None:
    """Those disturbed by something else have their own."""
    reasons = {"a": "its calls spread by 14.5 %", "b": "", "c": "throttled by heat", "d": "its calls spread by 1,202 %"}

    notes = ["disturbed: a and 1 more: its calls spread by 14.5 %", "disturbed: c: throttled by heat"]
    assert notes == list(disturbed_note(reasons))


def test_reasons_of_one_cause_are_said_once() -> None:
    """Those that begin alike but for figures in brackets; of several only the lines that are the same."""
    reasons = [
        ("a", "other pixels (3 of 9 images)\n    cause: Pillow\n    effect: 1 changed"),
        ("b", "other pixels (4 of 9 images)\n    cause: Pillow\n    effect: 2 changed"),
        ("c", "top-1: measured 1.0 (-1 points)\n    more"),
        ("d", "other weights (sha256 1)"),
        ("e", "other weights (sha256 1)"),
    ]

    assert [
        (["a", "b"], "other pixels\n    cause: Pillow"),
        (["c"], "top-1: measured 1.0 (-1 points)\n    more"),
        (["d", "e"], "other weights (sha256 1)"),
    ] == list(by_cause(reasons))
