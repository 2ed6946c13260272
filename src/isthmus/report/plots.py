"""What the offline pages have in common: templates, and figures drawn for them."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from functools import cache
from typing import TYPE_CHECKING, Any

from isthmus.data.atomic import atomic_path, written
from isthmus.data.file_errors import os_errors
from isthmus.report import words
from isthmus.report.figures import Figure
from isthmus.report.numbers import NOTHING
from isthmus.report.svg import svg

if TYPE_CHECKING:
    from jinja2 import Template


@cache
def template(name: str) -> Template:
    """A page's template, compiled once: autoescaped, a missing key or None is a dash."""
    from jinja2 import ChainableUndefined, Environment, PackageLoader

    environment = Environment(
        loader=PackageLoader("isthmus.report", "."),
        autoescape=True,
        undefined=ChainableUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda value: NOTHING if value is None else value,
    )
    environment.filters |= {
        "number": words.number,
        "percent": words.percent,
        "interval": words.interval,
    }
    environment.globals["percent"] = words.percent
    return environment.get_template(name)


def script_json(value: Any) -> str:
    """JSON that cannot end the script element it stands in, whatever texts it holds."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def write_page(path: str | os.PathLike[str], page: str) -> None:
    """Write a page's text to ``path``, atomically. Raises FileError where it cannot."""
    with atomic_path(path) as temporary, os_errors(path, "written"):
        temporary.write_text(written(page), encoding="utf-8", newline="\n")


class Plots:
    """Figures drawn in the order they are met, each with an id of its own."""

    def __init__(self) -> None:
        self.figures: dict[str, Figure] = {}

    def add(
        self, figure: Figure | None, title: str = "", *, wide: bool = False
    ) -> dict[str, Any] | None:
        """``title`` and ``svg`` of a figure, or None where there is nothing to draw."""
        if figure is None:
            return None
        name = f"plot-{len(self.figures) + 1}"
        self.figures[name] = figure
        return {"id": name, "title": title, "svg": svg(figure, name, title, wide=wide)}

    def add_all(self, titled: Iterable[tuple[str, Figure]]) -> list[dict[str, Any] | None]:
        """Figures with their titles."""
        return [self.add(figure, title) for title, figure in titled]
