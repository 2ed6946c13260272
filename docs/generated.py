"""Pages of the site that are made and not written: commands, API, notebooks, files of the root.

``conf.py`` calls :func:`write_all` before every build. They lie in ``docs/reference``, which git
does not keep.
"""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import isthmus

DOCS = Path(__file__).parent
ROOT = DOCS.parent
OUT = DOCS / "reference"
PROJECT = {
    "changelog": "CHANGELOG.md",
    "contributing": "CONTRIBUTING.md",
    "bench": "bench/README.md",
}
"""Page -> a file outside ``docs`` that is one."""


def write_all() -> None:
    """Write every page whose text is not what is there already, so that a rebuild is short."""
    pages = {"commands.md": commands(), "api/index.md": api_index()}
    pages |= {f"api/{name}.rst": text for name, text in api_pages()}
    pages |= {f"{path.stem}.md": notebook(path) for path in DOCS.glob("*.ipynb")}
    pages |= {f"{name}.md": outside(ROOT / file) for name, file in PROJECT.items()}
    for old in OUT.rglob("*.*"):
        if old.relative_to(OUT).as_posix() not in pages:
            old.unlink()
    for name, text in pages.items():
        path = OUT / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")


def outside(file: Path) -> str:
    """A page from a file of the root: its links to ``docs`` lead to pages, others are words."""

    def link(found: re.Match[str]) -> str:
        target = (file.parent / found[2]).resolve()
        if target.is_relative_to(DOCS):
            return f"[{found[1]}](../{target.relative_to(DOCS).as_posix()}{found[3] or ''})"
        name = next((n for n, f in PROJECT.items() if ROOT / f == target), None)
        return f"[{found[1]}]({name}.md{found[3] or ''})" if name else found[1]

    text = file.read_text(encoding="utf-8")
    return re.sub(r"\[([^\]]+)\]\((?!https?:|#)([^)#\s]+)(#[^)\s]*)?\)", link, text)


def commands() -> str:
    """Every command with its arguments and options, from the command line itself."""
    import typer.main

    from isthmus.cli.app import app

    lines = [
        "# Commands",
        "",
        "What `isthmus COMMAND --help` prints, for every command. An option has the same name in",
        "Python and in JSON, with `_` for `-`.",
        "",
    ]
    group: Any = typer.main.get_command(app)
    for name, command in every_command(group, "isthmus"):
        lines += [f"## {name}", "", *command_lines(name, command)]
    return "\n".join(lines) + "\n"


def every_command(group: Any, before: str) -> Iterator[tuple[str, Any]]:
    """(``isthmus lab list``, the command) of each, those of groups too."""
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from every_command(command, f"{before} {name}")
        else:
            yield f"{before} {name}", command


def command_lines(name: str, command: Any) -> list[str]:
    """What it does, its usage, and a table of its arguments and options."""
    context = command.make_context(name, [], resilient_parsing=True)
    records = [p.get_help_record(context) for p in command.params if not p.hidden]
    usage = " ".join([name, *command.collect_usage_pieces(context)])
    lines = [*about(command.help), "", "```text", usage, "```", ""]
    rows = [record for record in records if record and record[0] != "--help"]
    if not rows:
        return lines
    lines += ["| argument or option | meaning |", "|---|---|"]
    return [*lines, *(f"| `{cell(what)}` | {cell(escaped(words))} |" for what, words in rows), ""]


def about(text: str) -> list[str]:
    """A command's help: its words, and its examples as code."""
    words, *examples = re.split(r"^Examples?: ?", inspect.cleandoc(text), flags=re.M)
    lines = [escaped(words).rstrip()]
    for one in examples:
        lines += ["", "```text", *one.strip().splitlines(), "```"]
    return lines


def cell(text: str) -> str:
    """Text that a table's cell can hold."""
    return " ".join(text.split()).replace("|", "\\|")


def escaped(text: str) -> str:
    """Words of a help text that Markdown would read as marks."""
    return re.sub(r"([*_<>$\[\]{}`])", r"\\\1", text)


def api_pages() -> Iterator[tuple[str, str]]:
    """A page of each public name, for autodoc to fill from its docstring."""
    names = public_names()
    facade = [getattr(isthmus, name) for name, kind in names if kind != "module"]
    for name, kind in names:
        title = f"isthmus.{name}"
        lines = [title, "=" * len(title), "", *directive(kind, title)]
        module = getattr(isthmus, name)
        for inner in getattr(module, "__all__", ()) if kind == "module" else ():
            value = getattr(module, inner)
            if value not in facade and (inspect.isclass(value) or inspect.isroutine(value)):
                lines += ["", *directive(kind_of(value), f"{title}.{inner}")]
        yield name, "\n".join(lines) + "\n"


def directive(kind: str, name: str) -> list[str]:
    """What autodoc is asked for."""
    members = {"class": ["   :members:"], "module": ["   :no-members:"]}
    return [f".. auto{kind}:: {name}", *members.get(kind, [])]


def kind_of(value: Any) -> str:
    """``function``, ``class``, ``exception`` or ``module``."""
    if inspect.ismodule(value):
        return "module"
    if inspect.isclass(value):
        return "exception" if issubclass(value, Exception) else "class"
    return "function"


def public_names() -> list[tuple[str, str]]:
    """(name, kind) of everything that the facade offers, its version aside."""
    names = [name for name in isthmus.__all__ if not name.startswith("__")]
    return [(name, kind_of(getattr(isthmus, name))) for name in names]


def api_index() -> str:
    """A table of all public names, a sentence each, by kind."""
    heads = {
        "function": "Functions",
        "class": "Records and what they are made of",
        "exception": "Refusals",
        "module": "Modules",
    }
    said = "`import isthmus as im`; every name loads when it is first used."
    lines = ["# Python reference", "", said, ""]
    names = public_names()
    for kind, head in heads.items():
        lines += [f"## {head}", "", "| name | |", "|---|---|"]
        for name in (n for n, k in names if k == kind):
            first = inspect.getdoc(getattr(isthmus, name)).split("\n\n")[0].replace("``", "`")
            first = re.sub(r":\w+:`[~.]?([^`]+)`", lambda m: f"`{m[1].split('.')[-1]}`", first)
            lines.append(f"| [`{name}`]({name}.rst) | {cell(first)} |")
        lines.append("")
    entries = [f"{name} <{name}>" for name, _ in names]
    return "\n".join([*lines, "```{toctree}", ":hidden:", "", *entries, "```"]) + "\n"


def notebook(path: Path) -> str:
    """An executed notebook as a page: text, code, what it printed, and its figures."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    parts = []
    for one in cells:
        source = "".join(one["source"])
        if one["cell_type"] == "markdown":
            parts.append(re.sub(r"\]\((?=[\w-]+\.md)", "](../", source))
            continue
        parts.append(f"```python\n{source}\n```")
        for out in one["outputs"]:
            data = out.get("data", {})
            shown = data.get("image/svg+xml") or data.get("text/html")
            if shown:
                html = f'<div class="shown">{"".join(shown)}</div>'
                parts.append("````{raw} html\n" + html + "\n````")
            else:
                text = "".join(out.get("text") or data["text/plain"]).rstrip("\n")
                parts.append(f"```text\n{text}\n```")
    return "\n\n".join(parts) + "\n"
