"""Notebooks from scripts: ``python docs/notebook.py docs/reproduce-paper.py`` runs the cells and
writes the notebook with their outputs.

A script has cells that begin with ``# %%`` (code) or ``# %% [markdown]`` (text behind ``#``), as
Jupytext and editors know them.
"""

from __future__ import annotations

import ast
import io
import json
import re
import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

from isthmus.data.atomic import atomic_path

FORMS = {"_repr_svg_": "image/svg+xml", "_repr_html_": "text/html"}


def cells_of(script: str) -> list[tuple[str, str]]:
    """(``code`` or ``markdown``, text) of each cell."""
    found = []
    for part in re.split(r"^# %%", script, flags=re.M)[1:]:
        head, _, body = part.partition("\n")
        if "[markdown]" in head:
            body = re.sub(r"^# ?", "", body, flags=re.M)
            found.append(("markdown", body.strip()))
        else:
            found.append(("code", body.strip()))
    return found


def outputs_of(code: str, names: dict[str, Any]) -> list[dict[str, Any]]:
    """Run a cell in a namespace; what it prints, and its last expression as a notebook shows it."""
    tree = ast.parse(code)
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    printed = io.StringIO()
    with redirect_stdout(printed):
        exec(compile(tree, "cell", "exec"), names)
        value = None
        if isinstance(last, ast.Expr):
            value = eval(compile(ast.Expression(last.value), "cell", "eval"), names)
    out: list[dict[str, Any]] = []
    if printed.getvalue():
        out.append({"name": "stdout", "output_type": "stream", "text": lines(printed.getvalue())})
    if value is not None:
        forms = {kind: getattr(value, how)() for how, kind in FORMS.items() if hasattr(value, how)}
        if isinstance(value, list) and hasattr(value[0], "figure"):
            forms["image/svg+xml"] = drawn(value[0].figure)
        data = {kind: lines(text) for kind, text in forms.items()}
        data["text/plain"] = lines(repr(value) if not forms else f"<{type(value).__name__}>")
        out.append({"data": data, "metadata": {}, "output_type": "display_data"})
    return out


def drawn(figure: Any) -> str:
    """A matplotlib figure as SVG, the same text on every run."""
    import matplotlib

    file = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": "notebook", "svg.fonttype": "none"}):
        figure.savefig(file, format="svg", metadata={"Date": None})
    return file.getvalue()[file.getvalue().index("<svg") :]


def lines(text: str) -> list[str]:
    """Text as a notebook holds it."""
    return text.splitlines(keepends=True)


def notebook_of(script: str) -> dict[str, Any]:
    """A whole notebook, its code run in one namespace."""
    names: dict[str, Any] = {}
    cells: list[dict[str, Any]] = []
    for number, (kind, text) in enumerate(cells_of(script)):
        cell = {"cell_type": kind, "id": f"cell-{number}", "metadata": {}, "source": lines(text)}
        if kind == "code":
            done = sum(one["cell_type"] == "code" for one in cells) + 1
            cell |= {"execution_count": done, "outputs": outputs_of(text, names)}
        cells.append(cell)
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    about = {"kernelspec": kernel, "language_info": {"name": "python"}}
    return {"cells": cells, "metadata": about, "nbformat": 4, "nbformat_minor": 5}


def main(script: Path) -> None:
    """Write the notebook beside its script."""
    made = notebook_of(script.read_text(encoding="utf-8"))
    with atomic_path(script.with_suffix(".ipynb")) as temporary:
        text = json.dumps(made, indent=1, ensure_ascii=False, sort_keys=True)
        temporary.write_text(text + "\n", encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
