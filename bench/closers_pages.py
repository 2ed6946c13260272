"""Fill the tables of ``docs/closers`` from ``figures.json``, or say which are not up to date.

    python bench/closers_pages.py            # rewrite the tables between the marks
    python bench/closers_pages.py --check    # change nothing; exit code 1 where one differs

``figures.json`` is the output of ``bench/closers_table.py``.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from isthmus.closers import METHODS

FOLDER = Path(__file__).parent.parent / "docs" / "closers"
END = "<!-- end of figures -->"
SETS = {
    ("coco", "all"): "COCO",
    ("coco", "half"): "COCO, other queries",
    ("few", "all"): "20 candidates",
    ("videoclip", "all"): "video",
    ("things", "all"): "THINGS",
    ("prompts", "all"): "prompts",
}
CONTROLS = ("things", "prompts")
FOR_FEW = ("span", "subspace")
MARKS = ("r1", "clean", "noise", "rabitq_r1", "rabitq")
HEAD = "R@1 | clean agreement | consistency | RaBitQ R@1 | RaBitQ agreement"
Rows = list[dict[str, Any]]


def rows_of(path: Path) -> Rows:
    """The rows of ``figures.json`` as dicts."""
    document = json.loads(path.read_text(encoding="utf-8"))
    return [dict(zip(document["columns"], row, strict=True)) for row in document["rows"]]


def share(value: float | None) -> str:
    """Three digits, as the pages have them."""
    if value is None:
        return "–"
    text = f"{value:.3f}"
    return "1" if text == "1.000" else text.removeprefix("0")


def default_score(name: str) -> str:
    """The score a closer is searched by unless told."""
    return METHODS[name].score


def perturbations(found: Rows, marks: tuple[str, ...] = MARKS) -> str:
    """Shares of both directions, a perturbation per mark."""
    ways = {row["direction"]: row for row in found}
    pairs = ([share(ways[way][mark]) for way in ("a_to_b", "b_to_a")] for mark in marks)
    return " | ".join(pair[0] if pair == ["–", "–"] else " · ".join(pair) for pair in pairs)


def told(options: dict[str, Any]) -> str:
    """Options as they are typed in Python."""
    return "".join(f", `{name}={value!r}`" for name, value in options.items()).replace("'", "")


def lines_of(name: str, rows: Rows) -> list[str]:
    """The table of one page."""
    out = [f"| data | score, options | {HEAD} |", "|---" * 7 + "|"]
    best = default_score(name)

    def line(label: str, wanted: str, score: str, options: dict[str, Any], data: Any) -> None:
        key = (*data, wanted, score, options)
        found = [
            r for r in rows if key == (r["data"], r["fit"], r["closer"], r["score"], r["options"])
        ]
        if found:
            out.append(f"| {label} | {score}{told(options)} | {perturbations(found)} |")

    if name != "none":
        line("COCO, plain search", "none", best, {}, ("coco", "all"))
    seen = []
    for row in rows:
        kind = (row["score"], row["options"])
        if row["closer"] == name and kind not in seen:
            seen.append(kind)
            line("COCO", name, *kind, ("coco", "all"))
    for data, label in SETS.items():
        if data == ("coco", "all"):
            continue
        if name != "none" and data[0] not in CONTROLS:
            line(f"{label}, plain search", "none", best, {}, data)
        line(label, name, best, {}, data)
        if name in FOR_FEW and data[0] == "few":
            line(label, name, "euclidean", {}, data)
    return out


def index_lines(rows: Rows) -> list[str]:
    """Every closer on COCO, by its own score."""
    out = [f"| closer | {HEAD} | floats |", "|---" * 7 + "|"]
    for name in METHODS:
        found = [
            r
            for r in rows
            if (r["data"], r["fit"], r["closer"], r["score"], r["options"])
            == ("coco", "all", name, default_score(name), {})
        ]
        out.append(f"| [`{name}`]({name}.md) | {perturbations(found)} | {found[0]['floats']} |")
    return out


def main() -> int:
    """Rewrite, or check."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true")
    given = parser.parse_args()
    rows = rows_of(FOLDER / "figures.json")
    behind = []
    for name in ("README", *METHODS):
        path = FOLDER / f"{name}.md"
        page = path.read_text(encoding="utf-8")
        table = "\n".join(index_lines(rows) if name == "README" else lines_of(name, rows))
        head, mark, rest = page.partition("<!-- figures -->\n")
        filled = head + mark + table + "\n" + END + rest.partition(END)[2]
        if filled != page:
            behind.append(path.name)
            if not given.check:
                path.write_text(filled, encoding="utf-8")
    print(("behind: " if given.check else "rewritten: ") + (", ".join(behind) or "none"))
    return int(given.check and bool(behind))


if __name__ == "__main__":
    raise SystemExit(main())
