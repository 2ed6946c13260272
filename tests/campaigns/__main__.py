"""Run the campaigns, print their counts as JSON, and write them into docs/reliability.md."""

from __future__ import annotations

import argparse
import json
import re
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from campaigns import full_disk, hostile, kills, offline, twice

PAGE = Path(__file__).parents[2] / "docs" / "reliability.md"
ALL: dict[str, tuple[str, Any]] = {
    "kills": ("kills at random moments", lambda folder: kills.run(150, folder)),
    "twice": ("two runs at once on one output", lambda folder: twice.run(10, folder)),
    "full-disk": ("full disk", lambda folder: full_disk.run(20, folder)),
    "hostile": ("hostile commands", lambda folder: hostile.run(300, folder)),
    "offline": ("every command under strace", offline.run),
}


def table(title: str, counts: Counter[str]) -> str:
    """Counts as lines of a Markdown table."""
    lines = [f"| {what} | {number} |" for what, number in counts.items()]
    return "\n".join([f"| {title} | count |", "|---|---|", *lines])


def write(name: str, text: str) -> None:
    """Put a table between its marks in the page."""
    page = PAGE.read_text(encoding="utf-8")
    begin, end = f"<!-- counts: {name} -->", f"<!-- end: {name} -->"
    pattern = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}", re.S)
    PAGE.write_text(pattern.sub(f"{begin}\n{text}\n{end}", page), encoding="utf-8")


def main() -> None:
    """``python -m campaigns [NAME …]``: those named, or all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help=", ".join(ALL), default=list(ALL))
    parser.add_argument("--write", action="store_true", help="also into docs/reliability.md")
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
