"""``imagenet-gate bisect``: which version of a package changed what models predict; imports no torch."""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import sys
from pathlib import Path

import platformdirs

from harness.bisect.search import BAD, GOOD, SKIPPED, Step, difference, search, suspects
from harness.bisect.versions import Package, SkippedError, gate_run
from harness.cli import PYTEST_OPTIONS, Commands, write_text
from harness.errors import HarnessError
from harness.options import folder, listed
from harness.records.run_folder import Run
from harness.report.sections import counted


def add(commands: Commands) -> None:
    """Declare the command."""
    command = commands.add_parser(
        "bisect",
        help="find the version of a package that changed what models predict; exit 1 if none did",
        description="Run the gate with versions of one package, the rest of the environment unchanged, compare each "
        "with that of --good image by image, and halve the range until one is left. A small --limit will do: pixels "
        "and logits of a hundred images show what the accuracy of 50,000 may not. Exit 1 if --bad changes nothing. The "
        f"same command resumes a search that was killed. {PYTEST_OPTIONS}",
        usage="%(prog)s --package NAME --good OLD --bad NEW [options]",
        allow_abbrev=False,
    )
    command.add_argument("--package", metavar="NAME", required=True, help="package to bisect, such as pillow")
    command.add_argument("--good", metavar="OLD", required=True, help="version that the others are compared with")
    command.add_argument("--bad", metavar="NEW", required=True, help="later version, which differs from it")
    companions = "packages installed with it in the versions that it needs, such as torchvision with torch"
    command.add_argument("--with", metavar="LIST", dest="companions", type=listed, default=(), help=companions)
    index = "another package index, including its pre-releases, such as nightly builds (default: pip's)"
    command.add_argument("--index-url", metavar="URL", default="", help=index)
    cache = "folder for the installed versions, 6 GB each for torch (default: in the user's cache)"
    command.add_argument("--environments", metavar="DIR", type=folder, help=cache)
    command.add_argument("--json", metavar="FILE", type=Path, help="write versions, steps and result to this file")
    command.set_defaults(run=_bisect, takes_more=True, interrupted="the same command resumes the search")


def _bisect(options: argparse.Namespace) -> int:
    package = Package(options.package, options.companions, options.index_url)
    versions = package.versions(options.good, options.bad)
    cache = options.environments or platformdirs.user_cache_path("imagenet-gate") / "bisect"
    about = json.dumps([sys.executable, str(Path.cwd()), vars(package), options.more])
    runs = cache / f"runs-{hashlib.sha256(about.encode()).hexdigest()[:12]}"  # of this search, for one that goes on
    print(f"{package.name}: {counted(len(versions), 'version')} from {versions[0]} to {versions[-1]}", flush=True)

    def run(version: str) -> Run:
        print(f"{version}: installing it if needed, then evaluating", file=sys.stderr, flush=True)
        return gate_run(package.install(version, cache, runs / "installing"), options.more, runs / version)

    def examine(version: str) -> tuple[str, str]:
        try:
            found = difference(reference, run(version))
        except SkippedError as error:
            return SKIPPED, str(error)
        return (BAD, found) if found else (GOOD, "")

    steps: list[Step] = []

    def show(step: Step) -> Step:
        steps.append(step)
        reason = step.reason.partition("\n")[0]
        print(f"{step.version}  {step.state}{reason and f': {reason}'}", flush=True)
        if step.left:
            print(f"  {counted(step.left, 'version')} left", flush=True)
        return step

    try:
        reference = run(versions[0])
    except SkippedError as error:
        raise HarnessError(f"--good {versions[0]}: {error}") from error
    show(Step(versions[0], GOOD, "the others are compared with it"))
    last = show(Step(versions[-1], *examine(versions[-1])))
    if last.state == BAD:
        for step in search(versions, examine):
            show(step)
    found = suspects(versions, steps) if last.state == BAD else []
    if options.json is not None:
        shown = [{"version": step.version, "state": step.state, "reason": step.reason} for step in steps]
        content = {"package": package.name, "versions": versions, "steps": shown, "first_bad": found}
        write_text("--json", options.json, json.dumps(content, indent=2) + "\n")
    shutil.rmtree(runs, ignore_errors=True)
    if last.state == SKIPPED:
        raise HarnessError(f"--bad {versions[-1]}: {last.reason}")
    if not found:
        print(f"{package.name} {versions[-1]} changes nothing compared with {versions[0]}")
        return 1
    before = versions[versions.index(found[0]) - 1]
    if len(found) > 1:
        print(f"\nfirst bad version: one of {', '.join(found)}, since the others were skipped; {before} is good")
    else:
        print(f"\nfirst bad version: {package.name} {found[0]}; {before} is good")
    print(next(step.reason for step in steps if step.version == found[-1]))
    return 0
