"""How Sphinx makes the site: plain Markdown pages, and a reference from the docstrings.

    sphinx-build -W -n docs build/site

Nothing is fetched, neither by the build nor by its pages, so the site reads from a disk.
"""

from __future__ import annotations

import re
from importlib.metadata import version as version_of
from typing import TYPE_CHECKING, Any

from docutils import nodes

from wavespeed_async.cli._app import app as commands
from wavespeed_async.models import _known

if TYPE_CHECKING:
    from docutils.nodes import Element
    from sphinx.addnodes import pending_xref
    from sphinx.application import Sphinx
    from sphinx.environment import BuildEnvironment

project = "wavespeed-async"
author = "the authors of wavespeed-async"
copyright = "MIT licence"  # noqa: A001 (the name that Sphinx reads)
release = version = version_of("wavespeed-async")

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
]
exclude_patterns = ["**/.*"]
nitpicky = True
default_role = "code"  # docstrings write names between single backticks
highlight_language = "none"
smartquotes = False  # two hyphens are an option

myst_heading_anchors = 4
myst_links_external_new_tab = False

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
autodoc_inherit_docstrings = False
maximum_signature_line_length = 80
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True
napoleon_use_rtype = False

html_theme = "furo"
html_title = "wavespeed-async"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sphinx = False
html_theme_options = {"navigation_with_keys": True}
pygments_style = "friendly"
pygments_dark_style = "github-dark"

OUTSIDE = re.compile(
    r"""(?x)
      (?: aiohttp | anyio | asyncio | collections | contextvars | fastapi | httpx | logging | os
        | pathlib | random | ray | starlette | types | typing | web ) \. .+   # by their modules
    | [a-z]\w*                                                 # bool, str and their kind
    | [PT]                                                     # type variables
    | AbstractAsyncContextManager | AbstractContextManager | Any | AsyncExitStack | AsyncIterable
    | AsyncIterator | Awaitable | Callable | ClientDisconnect | Coroutine | FastAPI | Handler
    | Image | Iterable | Iterator | Literal | Mapping | MeterProvider | MockClock | Path | Self
    | Sequence | TracebackType | TracerProvider
    """
)
"""Names of others in signatures. They are no links: their inventories would have to be fetched."""

INSIDE = {
    **dict.fromkeys(("AnyLimiter", "Course", "Store"), "a protocol that users meet no instance of"),
    **dict.fromkeys(("Ask", "Bidder", "Permit", "Scarcity", "Slot"), "between limiter and poller"),
    **dict.fromkeys(("PollRule", "Budget", "Snapshot"), "a part of what holds it"),
    **dict.fromkeys(
        (
            "Counted",
            "Existing",
            "Failure",
            "Headers",
            "InputsName",
            "Item",
            "Items",
            "Kind",
            "Observer",
            "Observers",
            "Order",
        ),
        "an alias, spelt out where it is used",
    ),
    **dict.fromkeys(
        ("Over", "PillowImage", "RetryAfter", "Rule", "Submission", "WindowKind"),
        "an alias, as above",
    ),
}
"""Names of this package in signatures that the reference leaves out, each with its reason."""


# --- docstrings ----------------------------------------------------------------------------------

_kept: list[str] = []


def keep_from_napoleon(_: Sphinx, kind: str, *rest: Any) -> None:
    """Hide what is said of an attribute from napoleon, which takes words before a colon for a type.

    The docstrings here are prose: "Picture to start from: its URL or base64".
    """
    lines = rest[-1]
    _kept.clear()
    if kind in PLAIN:
        _kept.extend(lines)
        lines.clear()


def give_back(_: Sphinx, kind: str, *rest: Any) -> None:
    """Undo the above, after napoleon."""
    if kind in PLAIN:
        rest[-1][:] = _kept


PLAIN = {"attribute", "data", "property"}


# --- navigation: the links of index.md are the only list of pages --------------------------------


def add_navigation(_: Sphinx, page: str, source: list[str]) -> None:
    """Make a list of contents of each section of links on the first page."""
    if page != "index":
        return
    trees = []
    for section in re.split(r"^## ", source[0], flags=re.MULTILINE)[1:]:
        caption, text = section.split("\n", 1)
        links = re.findall(r"^- \[(.*)\]\(([\w/.-]+)\.(?:md|rst)\)", text, re.MULTILINE)
        pages = "\n".join(f"{title} <{place}>" for title, place in links)
        trees.append("```{toctree}\n:hidden:\n:caption: " + caption + f"\n\n{pages}\n```\n")
    source[0] += "\n" + "\n".join(trees)


# --- links out of the pages: to files of the repository, which the site does not hold ------------


def without_links_to_files(_: Sphinx, page: str, source: list[str]) -> None:
    """Keep of a link to a file outside of docs its text: in the site it leads nowhere."""
    up = "../" * (page.count("/") + 1)
    source[0] = re.sub(rf"\[([^]]+)\]\({re.escape(up)}[\w/.-]+\)", r"\1", source[0])


# --- the command line and the models, from the package itself ------------------------------------


def add_commands(_: Sphinx, page: str, source: list[str]) -> None:
    """Say what each command takes, in the program's own words."""
    if page != "reference/command-line":
        return
    told = commands.generate_docs(output_format="markdown", heading_level=2)
    told = re.sub(r"^## Table of Contents\n.*?(?=^\*\*)", "", told, flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^##+ (.*)$", told, re.MULTILINE)
    anchors = {
        plain(heading): re.sub(r"[^\w-]", "", heading.replace(" ", "-")) for heading in headings
    }
    told = re.sub(r"\(#(\S+)\)", lambda link: f"(#{anchors[plain(link[1])]})", told)
    source[0] += "\n" + told.replace("```console", "```text")


def add_models(_: Sphinx, page: str, source: list[str]) -> None:
    """Describe each model that the package's list has."""
    if page == "reference/requests":
        told = [f".. autoclass:: wavespeed_async.{name}\n   :members:\n" for name in _known.__all__]
        source[0] = source[0].replace(".. models\n", "\n".join(told))


def plain(name: str) -> str:
    """Answer the letters of a command's name, which its links write otherwise than its heading."""
    return re.sub(r"\W", "", name)


# --- names in signatures --------------------------------------------------------------------------


def find_by_last_name(
    app: Sphinx, env: BuildEnvironment, node: pending_xref, shown: Element
) -> Element | None:
    """Lead an annotation's name to what the reference documents under it.

    Annotations are names as the source has them, and what they name is imported for type checkers
    alone; so it is found by its last part. A name that is neither here nor in the lists above is
    left unresolved: the build fails.
    """
    if node.get("refdomain") != "py":
        return None
    target = str(node["reftarget"])
    last = target.rpartition(".")[2]
    domain = env.domains.python_domain
    found = [name for name in domain.objects if name.rpartition(".")[2] == last]
    public = [name for name in found if domain.objects[name].objtype != "method"]
    if len(public) == 1:
        from sphinx.util.nodes import make_refnode  # noqa: PLC0415 (at the build alone)

        place = domain.objects[public[0]]
        page = env.current_document.docname
        return make_refnode(app.builder, page, place.docname, place.node_id, shown, public[0])
    if last in INSIDE or OUTSIDE.fullmatch(target):
        return nodes.inline("", "", shown)
    return None


def setup(app: Sphinx) -> dict[str, Any]:
    """Tell Sphinx of the above."""
    app.connect("autodoc-process-docstring", keep_from_napoleon, priority=400)
    app.connect("autodoc-process-docstring", give_back, priority=600)
    app.connect("source-read", add_commands)
    app.connect("source-read", add_models)
    app.connect("source-read", add_navigation)
    app.connect("source-read", without_links_to_files)
    app.connect("missing-reference", find_by_last_name)
    return {"parallel_read_safe": True}
