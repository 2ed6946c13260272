"""Which closer for this store: each is written to a column of its own, asked, and removed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from isthmus.closers.fitting import fit
from isthmus.closers.registry import METHODS
from isthmus.core.progress import Progress, quiet
from isthmus.core.seeds import stream
from isthmus.core.statistics import paired_difference
from isthmus.data import open_rows
from isthmus.data.addresses import open_store
from isthmus.data.records import Record
from isthmus.deploy.stores.deploying import first_kept, try_closer
from isthmus.errors import CloserError, OptionError
from isthmus.search.scores import Ranking, top_k

CLOSERS = ("orthogonal-shift", "center-queries", "center-both")
"""Tried by default: the exact closers that need nothing but means."""


@dataclass(frozen=True)
class StoreAdvice(Record):
    """What each closer does to a store's own answers.

    Attributes:
        store, index, codec, score: of the vectors. queries: validation queries, on which the
            choice is made, and test queries, on which figures are reported.
        choice: closer, or ``none`` where no gain is clear on validation queries.
        tried: a line a closer: form, ``kept`` (share of test queries whose first answer in the
            store is that of exact search of the original vectors), ``gain`` over none with its
            95 % interval over queries, or why it was left out.
    """

    store: str
    index: str
    codec: str
    score: str
    queries: tuple[int, int]
    choice: str
    tried: tuple[dict[str, Any], ...]

    def rows(self) -> list[dict[str, Any]]:
        """A line a closer."""
        return [dict(line) for line in self.tried]

    def sentences(self) -> list[str]:
        """What was found, a line each."""
        lines = [
            f"{self.store}: index {self.index}, codec {self.codec}, ranked by {self.score}",
            f"first answers that are those of exact search, of {self.queries[1]} test queries:",
        ]
        for one in self.tried:
            if "left_out" in one:
                lines.append(f"  {one['closer']}: left out, {one['left_out']}")
            elif "gain" in one:
                span = f"{100 * one['gain_lo']:+.1f} to {100 * one['gain_hi']:+.1f}"
                lines.append(
                    f"  {one['closer']}: {one['kept']:.1%}, {100 * one['gain']:+.1f} points "
                    f"(95 % interval {span}), as {one['form']}"
                )
            else:
                lines.append(f"  {one['closer']}: {one['kept']:.1%}")
        chosen = "do nothing" if self.choice == "none" else f"use {self.choice}"
        lines.append(f"{chosen}: chosen on {self.queries[0]} validation queries")
        return lines


def recommend_in_store(
    store: str,
    queries: Any,
    *,
    closers: Sequence[str] = CLOSERS,
    max_queries: int = 1500,
    seed: int = 0,
    progress: Progress = quiet,
) -> StoreAdvice:
    """Try closers in the store itself, with its own index and codec.

    Queries are split in three: closers are fitted on the first third (and on the store's
    vectors), the choice is made on the second, figures are of the last.

    Args:
        store: address of the candidates' vectors. queries: (n, d) rows as the encoder gives them.
        closers: names to try. max_queries: queries used, drawn by ``seed``.

    Raises:
        OptionError: fewer than 30 queries. FileError: the store does not answer.

    Cost: for each closer, one pass over the vectors, written to the store and removed again.
    """
    source, asked = open_store(store), open_rows(queries)
    facts, rows = source.describe(), source.rows()
    if asked.rows < 30:
        raise OptionError(
            "too-few-queries", f"{asked.rows} queries; expected 30 or more, a third for each use"
        )
    order = stream("deploy.try", seed).permutation(asked.rows)[:max_queries]
    train, validation, test = (asked.take(np.sort(p)) for p in np.array_split(order, 3))
    score = facts.score or "dot"
    gallery, judged = rows.read(), np.concatenate([validation, test])
    exact = rows.ids[top_k(Ranking.of(judged, gallery, score), 1).rows]
    plain = first_kept(source.search(judged, 1, score=score), exact)
    cut = len(validation)
    tried: list[dict[str, Any]] = [{"closer": "none", "kept": float(plain[cut:].mean())}]
    best = (0.0, "none")
    for done, name in enumerate(closers):
        progress("trying closers in the store", done, len(closers))
        try:
            fits = score in METHODS[name].scores
            closer = fit(name, train, rows, score=score if fits else None)
            kept, form = try_closer(closer, store, judged, exact)
        except CloserError as why:
            tried.append({"closer": name, "left_out": str(why)})
            continue
        chosen = paired_difference(plain[None, :cut], kept[None, :cut], seed=seed)
        gain = paired_difference(plain[None, cut:], kept[None, cut:], seed=seed)
        tried.append(
            {
                "closer": name,
                "form": form,
                "kept": float(kept[cut:].mean()),
                "gain": gain.mean,
                "gain_lo": gain.low,
                "gain_hi": gain.high,
            }
        )
        if chosen.low > 0:
            best = max(best, (chosen.mean, name))
    return StoreAdvice(
        store=source.address.shown,
        index=facts.index,
        codec=facts.codec,
        score=score,
        queries=(cut, len(test)),
        choice=best[1],
        tried=tuple(tried),
    )


__all__ = ["CLOSERS", "StoreAdvice", "recommend_in_store"]
