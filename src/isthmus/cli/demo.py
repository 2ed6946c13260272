"""``isthmus demo``: the whole story, offline."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from isthmus.cli import options
from isthmus.cli.options import about
from isthmus.cli.output import console, print_json, progress_bar


def command(
    out: Annotated[Path, about("Folder for reports, rows and closers.")] = Path("isthmus-demo"),
    encoder: Annotated[
        str, about("emoji (default model), emoji:contrastive, emoji:sigmoid, emoji:gap.")
    ] = "emoji",
    seed: options.Seed = 0,
    verbose: options.Verbose = False,
    json: options.Json = False,
) -> None:
    """The whole story, offline, on the built-in emoji pictures, names and model.

    Example: isthmus demo --out isthmus-demo
    """
    from isthmus.data.atomic import output_folder, refuse_unwritable, together
    from isthmus.report.demo_words import print_demo
    from isthmus.report.table import print_summary
    from isthmus.workflows.demo.story import run_demo, save_rows

    refuse_unwritable(out, folder=True)
    with progress_bar() as say:
        story = run_demo(encoder=encoder, seed=seed, progress=say)
    result = story.audit
    output_folder(out)  # whatever its name, it is a folder
    with together():
        save_rows(out, story.rows)
        result.save(out)
    screen = console(as_json=json)
    print_summary(result.report, screen, verbose=verbose)
    print_demo(result.report["demo"], screen)
    screen.print(
        f"Wrote {out}/report.html (open it), report.json, the recommended closers, and the rows: "
        f"try  isthmus audit {out}/pictures.npy {out}/names.npy --names pictures,names"
    )
    if json:
        print_json(result.report)
