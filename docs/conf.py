"""The site of README.md and docs/, built by ``make docs``.

The source folder is the project's root, so that the links between pages are the same on GitHub and in the site.
"""

from __future__ import annotations

import inspect
import re
import shutil
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

project = "imagenet-gate"
root_doc = "README"
include_patterns = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "docs/**"]
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
myst_heading_anchors = 4
smartquotes = False
highlight_language = "text"
autodoc_member_order = "bysource"
autodoc_default_options = {"members": True, "exclude-members": "__init__"}
autodoc_class_signature = "separated"
maximum_signature_line_length = 100
toc_object_entries = False
napoleon_use_ivar = True
html_theme = "furo"
html_title = project
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_copyright = False


def setup(app: Any) -> None:
    """Connect the functions below to Sphinx's events."""
    app.connect("source-read", _add_navigation)
    app.connect("autodoc-process-docstring", _add_fields, priority=400)  # before napoleon's
    app.connect("build-finished", _add_index)


def _add_navigation(app: Any, docname: str, content: list[str]) -> None:
    """Give the landing page the pages of docs/README.md as navigation, under the same captions."""
    if docname != root_doc:
        return
    index = ROOT / "docs" / "README.md"
    app.env.note_dependency(index)
    groups = re.findall(r"^(\w[\w ]*).*:\n\n((?:(?:- |  ).*\n)+)", index.read_text(encoding="utf-8"), re.MULTILINE)
    pages = {
        caption: [f"docs/{page}" for page in re.findall(r"^- \[.*?\]\((.*?)\)", entries, re.MULTILINE)]
        for caption, entries in groups
    }
    pages["The project"] = ["docs/README.md", "CONTRIBUTING.md", "CHANGELOG.md"]
    for caption, names in pages.items():
        content[0] += "\n".join(["\n```{toctree}", ":hidden:", f":caption: {caption}", "", *names, "```\n"])


def _add_fields(_app: Any, what: str, _name: str, described: object, _options: object, lines: list[str]) -> None:
    """List a class's fields in its docstring, each with the comment on its line or on the lines above."""
    if what != "class" or not inspect.isclass(described):
        return
    field = r"((?:^    # .*\n)*)^    (\w+): ([^#=\n]+?)(?: = .*?)?(?:  # (.*))?$"
    if fields := re.findall(field, inspect.getsource(described), re.MULTILINE):
        lines += ["", "Attributes:"]
    for above, name, annotation, beside in fields:
        comment = " ".join([*re.findall(r"# (.*)", above), beside])
        typed = annotation.replace("_", r"\_")  # np.str_ would be a reference
        lines.append(f"    {name} ({typed}): {comment}")


def _add_index(app: Any, error: Exception | None) -> None:
    """Make the landing page the folder's index, too."""
    if error is None and app.builder.format == "html":
        shutil.copy(Path(app.outdir) / f"{root_doc}.html", Path(app.outdir) / "index.html")
