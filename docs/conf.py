"""The site of these pages: `make site` builds it with Sphinx, MyST and furo into build/site (docs/decisions/site.md).

The source is the project's folder, so that links are the same here and on a forge. The navigation is the list under `## Docs` of README.md.
"""

from __future__ import annotations

import re
from pathlib import Path

from sphinx.application import Sphinx

project = "Firsthand"
author = copyright = "the Firsthand authors"
extensions = ["myst_parser"]
root_doc = "README"
include_patterns = ["*.md", "docs/**.md"]
exclude_patterns = [".*", "build", "deploy", "dist", "kernel", "src", "tests"]
html_theme = "furo"
html_title = "Firsthand"
html_show_sourcelink = False
myst_heading_anchors = 3
# The lexers know neither Firsthand's output nor every form of TOML; what is not understood stays plain.
suppress_warnings = ["misc.highlighting_failure"]
_GROUP = re.compile(r"^\* ([A-Z]\w+): (.*(?:\n  .*)*)", re.M)
_LINK = re.compile(r"\]\(([\w/-]+)\.md\)")


def navigation(readme: str) -> str:
    """Sphinx's trees of pages, one for each group of README's list."""
    return "".join(
        f"\n```{{toctree}}\n:hidden:\n:caption: {name}\n\n" + "\n".join(_LINK.findall(pages)) + "\n```\n"
        for name, pages in _GROUP.findall(readme.split("\n## Docs\n")[1])
    )


def _source_read(app: Sphinx, page: str, source: list[str]) -> None:
    if page == root_doc:
        source[0] += navigation(source[0])
    if page == "docs/decisions/README":
        names = sorted(path.stem for path in Path(app.srcdir, "docs/decisions").glob("*.md") if path.stem != "README")
        source[0] += "\n```{toctree}\n:maxdepth: 1\n\n" + "\n".join(names) + "\n```\n"


def _build_finished(app: Sphinx, error: Exception | None) -> None:
    if error is None:
        Path(app.outdir, "index.html").write_text(f'<meta http-equiv="refresh" content="0; url={root_doc}.html">\n')


def setup(app: Sphinx) -> None:
    """Sphinx calls this."""
    app.connect("source-read", _source_read)
    app.connect("build-finished", _build_finished)
