"""A closer tried in a sample of a store before anything is kept: what it gains and costs."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from isthmus.closers.closer import Closer
from isthmus.core.progress import quiet
from isthmus.core.seeds import stream
from isthmus.core.statistics import paired_difference
from isthmus.data import open_rows
from isthmus.deploy.stores.placement import Placement
from isthmus.deploy.stores.rows import StoreRows
from isthmus.deploy.stores.sampling import Exact, Sample, sampled
from isthmus.deploy.stores.store import TRIED


@dataclass(frozen=True)
class Trial:
    """First answers that the store finds today and with a closer, before anything is kept.

    Attributes:
        before, after: of ``queries`` queries, how many first answers are those of exact search.
        hurts, gains: the interval of the difference over queries lies below, above zero.
    """

    queries: int
    before: int
    after: int
    hurts: bool
    gains: bool
    how: str

    @classmethod
    def of(cls, place: Placement, queries: Any, seed: int) -> Self:
        """Try it in a sample of the store, which is removed again."""
        given, facts = open_rows(queries), place.facts
        chosen = stream("deploy.check", seed).permutation(given.rows)[:500]  # as a check
        asked = given.take(np.sort(chosen))
        assert isinstance(place.rows, StoreRows)
        score = facts.score or place.closer.score
        with sampled(place.rows, asked, score, seed=seed) as sample:
            exact = Exact(asked, sample.rows, score)
            plain = exact.kept_by(lambda k: sample.store.search(asked, k, score=score))
            kept, form = try_closer(place.closer, sample, asked, exact)
            items = sample.rows.rows
        gain = paired_difference(plain[None], kept[None], seed=seed)
        how = f"{place.closer.name} as {form}, index {facts.index}, codec {facts.codec}, "
        how += f"{items} items"
        counts = len(asked), int(plain.sum()), int(kept.sum())
        return cls(*counts, gain.high < 0, gain.low > 0, how)

    @property
    def sentence(self) -> str:
        """What was found."""
        if self.hurts:
            clear = (
                "; the store loses answers by it: let isthmus recommend QUERIES STORE --perturb "
                "store choose, or write it all the same with even_if_worse (--even-if-worse)"
            )
        elif self.gains:
            clear = ""
        else:
            clear = f"; with {self.queries} queries that is no clear gain and no clear loss"
        return (
            f"tried first ({self.how}): of {self.queries} queries the first answer in the store is "
            f"that of exact search for {self.before} today and for {self.after} with the closer"
            f"{clear}"
        )


def try_closer(
    closer: Closer, sample: Sample, queries: np.ndarray, exact: Exact
) -> tuple[np.ndarray, str]:
    """(whether each first answer is kept (n,), form) in a sample; what is written is removed."""
    with tempfile.TemporaryDirectory() as folder:
        place = Placement.of(closer, sample.store, TRIED, folder, sample.rows)
        if place.form.stores_nothing:
            return exact.kept_by(lambda k: place.search(queries, k)), place.form.name
        place.prepare()
        try:
            place.write(quiet)
            kept = exact.kept_by(lambda k: place.search(queries, k))
        finally:
            place.target.undo()
    return kept, place.form.name
