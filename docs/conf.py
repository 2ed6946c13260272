"""The site: ``make docs`` renders these pages, docstrings and commands into ``docs/_site``.

No page asks the network for anything: formulas become MathML here, search is Sphinx's own.
"""

from __future__ import annotations

import re
import sys
import unicodedata
from pathlib import Path
from typing import Any

from docutils import nodes
from latex2mathml.converter import convert

sys.path.insert(0, str(Path(__file__).parent))

import generated

import isthmus

project = "Isthmus"
author = "The Isthmus authors"
project_copyright = "2026, the Isthmus authors. Apache-2.0"
version = release = isthmus.__version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_copybutton"]
myst_enable_extensions = ["dollarmath", "deflist"]
myst_heading_anchors = 4
myst_dmath_double_inline = True
exclude_patterns = ["_site", "**/*.py", "**/*.ipynb"]
html_theme = "furo"
html_title = f"Isthmus {version}"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_search_summary = False  # a page opened from a disk may not read another page
html_math_renderer = "mathml"
autodoc_typehints = "signature"
autodoc_member_order = "bysource"
autodoc_inherit_docstrings = True
napoleon_google_docstring = True
napoleon_numpy_docstring = False
copybutton_prompt_text = "$ "
nitpicky = True
nitpick_ignore_regex = [
    ("py:.*", r"(?!isthmus\.).*"),  # types of other libraries: their pages are elsewhere
    ("py:class", r"isthmus\.\w+\..*"),  # types in signatures that are not public names
]


def mathml(text: str, display: str) -> str:
    """A formula for the browser; one that is not understood stops the build."""
    made = convert(text, display=display)
    made = re.sub(r'<mi mathvariant="double-struck">(\w)</mi>', double_struck, made)
    made = made.replace('mathvariant="monospace"', 'style="font-family: monospace"')
    if "\\" in made or re.search(r'mathvariant="(?!normal)', made):
        raise ValueError(f"no MathML of the formula {text}: {made}")
    return made


def double_struck(found: re.Match[str]) -> str:
    """Browsers know no variants of letters any more, only the letters themselves."""
    name = f"DOUBLE-STRUCK CAPITAL {found[1]}"
    try:
        return f"<mi>{unicodedata.lookup(name)}</mi>"
    except KeyError:
        return f"<mi>{unicodedata.lookup(f'MATHEMATICAL {name}')}</mi>"


def inline_math(self: Any, node: nodes.math) -> None:
    self.body.append(mathml(node.astext(), "inline"))
    raise nodes.SkipNode


def display_math(self: Any, node: nodes.math_block) -> None:
    self.body.append(f'<div class="formula">{mathml(node.astext(), "block")}</div>\n')
    raise nodes.SkipNode


def setup(app: Any) -> None:
    """Sphinx calls this first."""
    app.add_html_math_renderer("mathml", (inline_math, None), (display_math, None))
    app.connect("builder-inited", lambda app: generated.write_all())
    app.connect("source-read", links_to_generated)
    app.connect("missing-reference", public_name)


def links_to_generated(app: Any, page: str, source: list[str]) -> None:
    """Links to notebooks and to files outside ``docs`` lead to the pages made of them."""
    up = "../" * page.count("/")
    text = re.sub(
        r"\]\(([\w./-]+)\.ipynb\)", lambda m: f"]({up}reference/{Path(m[1]).name}.md)", source[0]
    )
    for name, file in generated.PROJECT.items():
        text = text.replace(f"]({up}../{file}", f"]({up}reference/{name}.md")
    source[0] = text


def public_name(app: Any, env: Any, node: Any, content: Any) -> Any:
    """``isthmus.closers.maps.Closer`` is documented as the facade gives it: ``isthmus.Closer``."""
    target = node.get("reftarget", "")
    name = target.rsplit(".", 1)[-1]
    homes = [f"isthmus.{name}"]
    for module, home in isthmus._MODULES.items():
        if target == f"isthmus.{home}.{name}":
            homes.append(f"isthmus.{module}.{name}")
    domain = env.get_domain("py")
    for home in homes:
        found = domain.resolve_xref(env, node["refdoc"], app.builder, "obj", home, node, content)
        if found is not None:
            return found
    return None
