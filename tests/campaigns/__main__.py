"""Run the campaigns, print their counts as JSON, and write them into the docs."""

from __future__ import annotations

import argparse
import json
import re
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from campaigns import deploys, full_disk, hostile, kills, offline, twice

DOCS = Path(__file__).parents[2] / "docs"
PAGES = (DOCS / "reliability.md", DOCS / "stores.md")
ALL: dict[str, tuple[str, Any]] = {
    "kills": ("kills at random moments", lambda folder: kills.run(150, folder)),
    "twice": ("two runs at once on one output", lambda folder: twice.run(10, folder)),
    "full-disk": ("full disk", lambda folder: full_disk.run(20, folder)),
    "hostile": ("hostile commands", lambda folder: hostile.run(300, folder)),
    "deploys": ("deploy killed at 20 points a store", lambda folder: deploys.run(20, folder)),
    "offline": ("every command under strace", offline.run),
}

USUAL = [name for name in ALL if name != "deploys"]  # that one needs the stores installed


def table(title: str, counts: Counter[str]) -> str:
    """Counts as lines of a Markdown table."""
    lines = [f"| {what} | {number} |" for what, number in counts.items()]
    return "\n".join([f"| {title} | count |", "|---|---|", *lines])


def write(name: str, text: str) -> None:
    """Put a table between its marks in the page that has them."""
    begin, end = f"<!-- counts: {name} -->", f"<!-- end: {name} -->"
    pattern = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}", re.S)
    for path in PAGES:
        page = path.read_text(encoding="utf-8")
        if begin in page:
            path.write_text(pattern.sub(f"{begin}\n{text}\n{end}", page), encoding="utf-8")


def main() -> None:
    """``python -m campaigns [NAME …]``: those named, or all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help=", ".join(ALL), default=USUAL)
    parser.add_argument("--write", action="store_true", help="also into the docs")
    asked = parser.parse_args()
    for name in asked.names:
        title, campaign = ALL[name]
        began = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="isthmus-campaign-") as folder:
            counts = campaign(Path(folder) / "work")
        seconds = round(time.monotonic() - began)
        print(json.dumps({"campaign": name, "seconds": seconds, **counts}, indent=2))
        if asked.write:
            write(name, table(title, counts))


if __name__ == "__main__":
    main()
