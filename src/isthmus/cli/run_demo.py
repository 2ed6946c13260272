"""The body of ``isthmus demo``."""

from __future__ import annotations

from pathlib import Path

from isthmus.cli.run_audit import write
from isthmus.cli.words import console, print_json, progress_bar
from isthmus.workflows.demo.story import demo, save_rows


def run(*, out: Path, encoder: str, seed: int, as_json: bool) -> None:
    """Tell the story, write its page and the rows it used, print what came out."""
    with progress_bar() as say:
        story = demo(encoder=encoder, seed=seed, progress=say)
    result = story.audit
    save_rows(out, story.rows)
    write(result, out)
    screen = console(as_json=as_json)
    from isthmus.report.demo_words import print_demo
    from isthmus.report.table import print_summary

    print_summary(result.report, screen)
    print_demo(result.report["demo"], screen)
    screen.print(
        f"Wrote {out}/report.html (open it), report.json, the recommended closers, and the rows: "
        f"try  isthmus audit {out}/pictures.npy {out}/names.npy --names pictures,names"
    )
    if as_json:
        print_json(result.report)
