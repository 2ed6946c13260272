"""``isthmus deploy``: a closer into a store of vectors, checked and undone."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from isthmus.cli import options
from isthmus.cli.options import INPUT, about, argument
from isthmus.cli.output import show
from isthmus.errors import OptionError


def command(
    closer: options.CloserFile,
    store: Annotated[str, argument("STORE", "Address of the candidates' vectors.")],
    column: Annotated[
        str | None, about("New column or collection. Default: old name and closer.")
    ] = None,
    out: Annotated[
        Path | None, about("Folder for the query side. Default: isthmus-deploy-COLUMN.")
    ] = None,
    check: Annotated[
        str | None,
        about(
            f"Write nothing; send these queries to the store and compare with exact search: "
            f"{INPUT}.",
            metavar="QUERIES",
        ),
    ] = None,
    queries: Annotated[
        str | None,
        about(
            f"Try the closer in the store first, with these queries, and write nothing where "
            f"it clearly loses answers: {INPUT}."
        ),
    ] = None,
    even_if_worse: Annotated[
        bool,
        about(
            "Write also where the trial clearly loses answers, or rows are queries.",
            "--even-if-worse",
        ),
    ] = False,
    undo: Annotated[
        bool, about("Remove what an earlier deploy wrote, nothing else.", "--undo")
    ] = False,
    max_queries: options.MaxQueries = 500,
    seed: options.Seed = 0,
    json: options.Json = False,
) -> None:
    """Write a closer into a vector store in the form that this store can search.

    Example: isthmus deploy closer.safetensors "postgresql://me@db/shop?table=items&column=image"
    """
    from isthmus.data.atomic import refuse_unwritable
    from isthmus.deploy import stores

    if out is not None:
        refuse_unwritable(out, folder=True)
    if undo and check is not None:
        raise OptionError("options-exclude", "give --undo or --check, not both")
    if undo:
        gone = stores.undo(closer, store, column=column, out=out)
        show([f"removed {gone}"], {"removed": gone}, as_json=json)
    elif check is not None:
        made = stores.check_deployment(
            closer, store, check, column=column, out=out, max_queries=max_queries, seed=seed
        )
        show(made.sentences(), made.to_dict(), as_json=json)
    else:
        with options.asked(stores.deploy, locals()) as given:
            wrote = stores.deploy(**given)
        show(wrote.sentences(), wrote.to_dict(), as_json=json)
