"""``--known-issues``: failures that are expected until a date, and nothing else."""

from __future__ import annotations

import re
from datetime import datetime, timezone
from pathlib import Path

import msgspec
import pytest

from harness.compare.compare import compare
from harness.records.results import CaseResult
from harness.records.run_folder import read_run
from harness.report.report import report_on
from harness.verdict import FAILED, PASSED, WARNING
from tests.integration.conftest import Gate, add_to_conftest, entry, expect
from tests.records import case_result, expected, run_record, write_run

OPTIONS = ("--imagenet=colors", "--known-issues=issues.yaml")
FAILS = {"acc@1: 75.0": "acc@1: 50"}
ISSUE = "- {{case: '{}', check: {}, reason: rounds down, url: 'https://example.org/{}', until: {}}}\n"
ISSUES = [
    ISSUE.format("KNOWN-v1-*", "top-1", 1, "2999-12-31"),
    ISSUE.format("more-V1-fp32", "top-1", 2, "2999-12-31"),
    ISSUE.format("old-*", "top-1", 3, "2020-01-31"),
    ISSUE.format("over-*", "top-1", 4, "2999-12-31"),
    ISSUE.format("nan-*", "top-1", 5, "2999-12-31"),
    ISSUE.format("nearest-*", "baseline", 6, "2999-12-31"),
]
REASON = "rounds down (https://example.org/1), until 2999-12-31"
TICKETS = """
import pytest
@pytest.fixture(autouse=True)
def _tickets(request):
    request.node.user_properties += [("ticket", "A-1"), ("ticket", "A-2")]
"""


@pytest.mark.parametrize("workers", [[], pytest.param(["-n=1"], marks=pytest.mark.slow)], ids=["one", "xdist"])
def test_only_a_known_failure_is_expected(gate: Gate, project: Path, workers: list[str]) -> None:
    """Not another check of the case, an issue that expired or no longer occurs, or an error; the record has the truth.

    An issue of a check that was not made, here of a baseline, says nothing about the case.
    """
    known, old = (entry(model, values="{acc@1: 50, acc@5: 87.5}") for model in ("known", "old"))
    more, nan = entry("more", values="{acc@1: 50, acc@5: 80}"), entry("nan", "tests.colors:always_nan")
    expect(project, {}, known, more, old, entry("over"), nan)
    (project / "issues.yaml").write_text("".join(ISSUES))
    add_to_conftest(project, TICKETS)

    result = gate(*OPTIONS, "--models=all", "--results=run", "-rxf", "--junitxml=junit.xml", *workers)

    result.assert_outcomes(passed=1, xfailed=1, failed=3, errors=1)
    result.stdout.fnmatch_lines_random(
        [
            f"XFAIL *known-V1-fp32* - top-1: {REASON}",
            "known issue: top-1 has expired, fix it or accept it for longer: rounds down (*/3), until 2020-01-31",
            "known issue: top-1 no longer occurs, remove it from --known-issues: rounds down (*/4), until *",
            "warning: known-V1-fp32: top-1: known issue: rounds down (https://example.org/1),",
        ]
    )
    record = read_run(project / "run").record
    assert {
        "nearest": (PASSED, [], 0),
        "known": (WARNING, ["top-1"], 0),
        "more": (FAILED, ["top-1"], 0),
        "old": (FAILED, [], 1),
        "over": (FAILED, [], 1),
    } == {case.model: (case.outcome, list(case.known_issues), len(case.issues_over)) for case in record.cases}
    junit = (project / "junit.xml").read_text()
    assert sorted(case.outcome for case in record.cases) == sorted(re.findall('name="outcome" value="([a-z]+)"', junit))
    assert [6, 6] == [junit.count(f'name="ticket" value="A-{number}"') for number in (1, 2)]
    assert ["nan-V1-fp32"] == [missing.id for missing in record.missing]


def test_a_subset_that_could_miss_the_failure_does_not_end_an_issue(gate: Gate, project: Path) -> None:
    """And a run whose failures are all known ends with success, but for a team's own failure with the result."""
    today = datetime.now(timezone.utc).date()  # the last day on which it is accepted
    (project / "issues.yaml").write_text(ISSUE.format("*", "top-1", 1, today))
    own = "import pytest\n\n@pytest.mark.imagenet\ndef test_own(result):\n    assert result.counts.top1 == 0\n"
    (project / "test_own.py").write_text(own)

    subset = gate(*OPTIONS, "--limit=12", "test_accuracy.py")
    expect(project, FAILS)
    whole = gate(*OPTIONS, "test_accuracy.py")

    subset.assert_outcomes(passed=1)
    whole.assert_outcomes(xfailed=1)
    assert (0, 0) == (subset.ret, whole.ret)
    gate(*OPTIONS, "test_own.py").assert_outcomes(failed=1)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (None, "cannot be read: No such file"),
        ("- {case: a", "not valid YAML"),
        ("case: a", "expected a list of case, check, reason, url and until (a date): Expected `array`"),
        (ISSUE.format("a", "top-1", 1, "2999-01-01").replace("https", "ftp"), "matching regex"),
        ("- {case: a, check: top-1, reason: r, url: 'https://a'}", "missing required field `until`"),
        (ISSUE.format("a", "top-1", 1, "2999-01-01, extra: 1"), "unknown field `extra`"),
    ],
)
def test_a_file_that_cannot_be_used_is_a_usage_error(gate: Gate, project: Path, text: str | None, reason: str) -> None:
    """Before anything is evaluated."""
    if text is not None:
        (project / "issues.yaml").write_text(text)

    result = gate(*OPTIONS)

    assert pytest.ExitCode.USAGE_ERROR == result.ret
    [line] = [line for line in result.errlines if "--known-issues issues.yaml: " in line]
    assert reason in line


def _case(model: str, **changes: object) -> CaseResult:
    return case_result(model, (1000, 700, 900), expected=expected(1000, 750, 900), **changes)


def test_compare_and_report_do_not_fail_by_what_is_known(tmp_path: Path) -> None:
    """A known failure is a warning with its reason, another one fails; an issue of a baseline is of that one alone."""
    good, bad = _case("resnet18", known_issues={"top-1": REASON, "baseline": REASON}), _case("vgg16")
    other = msgspec.structs.replace(good, weights_sha256="other")
    over = case_result(issues_over=("it is over",))
    known, both, changed, ended = (
        write_run(tmp_path / str(number), run_record(cases))
        for number, cases in enumerate(([good], [good, bad], [other], [over]))
    )

    assert [] == [name for name, _ in compare(known, known).failures()]
    assert ["vgg16-IMAGENET1K_V1-fp32"] == [name for name, _ in compare(both, both).failures()]
    assert ["the weights differ"] == [why[:18] for _, why in compare(known, changed).failures()]
    headline = report_on([known]).headline
    why = f"top-1: known issue: {REASON}; {_case('resnet18').verdict.checks[0].detail}"
    assert (WARNING, ((good.id, why),)) == (headline.outcome, headline.reasons)
    assert report_on([ended]).headline.sentence.endswith("resnet18-IMAGENET1K_V1-fp32: known issue: it is over")
