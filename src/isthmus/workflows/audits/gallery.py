"""What an audit says of a gallery of which its search holds a sample."""

from __future__ import annotations

from typing import Any

from isthmus.core.progress import Progress
from isthmus.data.neighbours import Neighbours
from isthmus.data.row_stats import InputWarning
from isthmus.robustness.gallery import gallery_figures, is_sampled, neighbour_figures, sampled_note
from isthmus.workflows.audits.direction import Direction


def gallery_entry(
    one: Direction,
    say: Progress,
    lists: Neighbours | None = None,
    rows: int | None = None,
    *,
    engine: Any = None,
) -> dict[str, Any] | None:
    """``gallery`` of a direction: by law over all candidates; None where all are searched anyway.

    ``lists`` are the neighbours of the queries in a gallery of ``rows`` candidates.
    """
    about = one.task, one.closers(), one.opts.levels, one.convention
    if lists is not None:
        return neighbour_figures(*about, lists, count=rows).to_dict()
    if not is_sampled(one.task):
        return None
    return gallery_figures(*about, seed=one.opts.seed, engine=engine, progress=say).to_dict()


def sample_warning(searched: int, rows: int, name: str) -> InputWarning:
    """That candidates are a sample, and which way its figures err."""
    return InputWarning("candidates-sampled", sampled_note(searched, rows, name))
