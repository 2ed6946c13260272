"""Which closer for this store: each is written to a sample of it, asked, and removed."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from isthmus.closers.closer import Closer
from isthmus.closers.fitting import fit
from isthmus.closers.registry import METHODS
from isthmus.core.progress import Progress, counted, quiet
from isthmus.core.seeds import stream
from isthmus.core.statistics import paired_difference
from isthmus.data import open_rows
from isthmus.data.addresses import open_store
from isthmus.data.parts import Engine
from isthmus.data.records import Record
from isthmus.deploy.stores.forms import uneven
from isthmus.deploy.stores.sampling import MAX_CANDIDATES, Exact, sampled
from isthmus.deploy.stores.trial import try_closer
from isthmus.errors import CloserError, OptionError

CLOSERS = ("orthogonal-shift", "biased-shift", "center-queries", "center-both")
"""Tried by default: the exact closers that need nothing but means."""


@dataclass(frozen=True)
class StoreAdvice(Record):
    """What each closer does to a store's own answers.

    Attributes:
        store, index, codec, score: of the vectors. items: in the sample, and in the store.
        queries: validation queries, on which the choice is made, and test queries, on which
            figures are reported.
        choice: closer, or ``none`` where no gain is clear on validation queries.
        tried: a line a closer: form, ``kept`` (share of test queries whose first answer in the
            store is that of exact search of the original vectors), ``gain`` over none with its
            95 % interval over queries, ``validation``, the same of the queries that decide, or
            why it was left out.
        left: names of samples that a killed run had left; they were removed.
        warning: what to know of the store's rows; empty for nothing.
    """

    store: str
    index: str
    codec: str
    score: str
    items: tuple[int, int]
    queries: tuple[int, int]
    choice: str
    tried: tuple[dict[str, Any], ...]
    left: tuple[str, ...] = ()
    warning: str = ""
    _closer: Closer | None = field(default=None, repr=False)

    @property
    def closer(self) -> Closer | None:
        """The chosen closer as it was tried, fitted on a third of the queries; None for none."""
        return self._closer

    def save(self, path: str | os.PathLike[str]) -> Path:
        """The chosen closer as ``.safetensors``; other suffixes as every record.

        Raises:
            OptionError: nothing was chosen, so there is no closer to write.
        """
        out = Path(path)
        if out.suffix.lower() != ".safetensors":
            return super().save(out)
        if self._closer is None:
            raise OptionError("nothing-recommended", "no closer is recommended: none to save")
        self._closer.save(out)
        return out

    def rows(self) -> list[dict[str, Any]]:
        """A line a closer."""
        return [dict(line) for line in self.tried]

    def sentences(self) -> list[str]:
        """What was found, a line each."""
        lines = [f"removed what a run that was killed had left: {one}" for one in self.left]
        of = "all" if self.items[0] == self.items[1] else f"{self.items[0]} of"
        lines += [
            f"{self.store}: index {self.index}, codec {self.codec}, ranked by {self.score}",
            f"tried in a sample with this index ({of} {self.items[1]} items), which is removed",
            f"first answers that are those of exact search, of {self.queries[1]} test queries:",
        ]
        lines.append(
            f"  {'':<18}{'kept':>6}  {'gain, 95 % interval':<24}gain on validation queries"
        )
        for one in self.tried:
            name = f"  {one['closer']:<18}"
            if "left_out" in one:
                lines.append(f"{name}left out: {one['left_out']}")
            elif "gain" in one:
                gains = f"{_points(one, 'gain'):<24}{_points(one, 'validation')}"
                lines.append(f"{name}{one['kept']:>6.1%}  {gains}")
            else:
                lines.append(f"{name}{one['kept']:>6.1%}")
        lines.append("  (gains in points of 100 queries)")
        if self.warning:
            lines.append(f"WARNING: {self.warning}")
        lines.append(
            f"use {self.choice}: its gain is clear on {self.queries[0]} validation queries"
            if self.choice != "none"
            else f"do nothing: no gain is clear on {self.queries[0]} validation queries"
        )
        if self.choice == "none" and self.codec == "none":
            lines.append(
                "the store compares floats, which lose nothing; to try a code, add codec=… to the "
                "address (docs/stores.md)"
            )
        return lines


def _points(line: dict[str, Any], key: str) -> str:
    mean, low, high = (100 * line[key + end] for end in ("", "_lo", "_hi"))
    return f"{mean:+.1f} ({low:+.1f} to {high:+.1f})"


def recommend_in_store(
    store: str,
    queries: Any,
    *,
    closers: Sequence[str] | None = None,
    max_queries: int = 1500,
    max_candidates: int = MAX_CANDIDATES,
    seed: int = 0,
    engine: Engine = None,
    progress: Progress = quiet,
) -> StoreAdvice:
    """Try closers in the store itself, with its own index and codec.

    They are tried in a sample that has the index and codec of the user's, in a temporary table, a
    collection or a folder of its own, and is removed at the end (``docs/stores.md``); nothing is
    written to the user's. Queries are split in three: closers are fitted on the first third (and
    on all of the store's vectors), the choice is made on the second, figures are of the last.

    Args:
        store: address of the candidates' vectors. queries: (n, d) rows as the encoder gives them.
        closers: names to try; None: :data:`CLOSERS`. max_queries: queries used, drawn by ``seed``.
        max_candidates: items of the sample: the ten best of every query that is searched, by exact
            search of the whole store, and others drawn by ``seed``.
        engine: searches and sums parts of a store (:func:`isthmus.engines.open_engine`).

    Raises:
        OptionError: fewer than 30 queries, or another run has a sample of this store. FileError:
            the store does not answer.

    Cost: for each closer, one pass over the vectors, and the sample written.
    """
    rows, asked = open_store(store).rows(), open_rows(queries)
    facts = rows.facts
    if asked.rows < 30:
        raise OptionError(
            "too-few-queries", f"{asked.rows} queries; expected 30 or more, a third for each use"
        )
    order = stream("deploy.try", seed).permutation(asked.rows)[:max_queries]
    train, validation, test = (asked.take(np.sort(p)) for p in np.array_split(order, 3))
    score, cut = facts.score or "dot", len(validation)
    judged = np.concatenate([validation, test])
    tried: list[dict[str, Any]] = []
    best, chosen_closer = (0.0, "none"), None
    names = CLOSERS if closers is None else closers
    with sampled(rows, judged, score, max_candidates, seed, engine) as sample:
        exact = Exact(judged, sample.rows, score)
        plain = exact.kept_by(lambda k: sample.store.search(judged, k, score=score))
        tried.append({"closer": "none", "kept": float(plain[cut:].mean())})
        for name in counted(names, "trying closers in a sample of the store", progress):
            try:
                fits = score in METHODS[name].scores
                closer = fit(name, train, rows, score=score if fits else None, engine=engine)
                kept, form = try_closer(closer, sample, judged, exact)
            except CloserError as why:
                tried.append({"closer": name, "left_out": str(why)})
                continue
            chosen = paired_difference(plain[None, :cut], kept[None, :cut], seed=seed)
            gain = paired_difference(plain[None, cut:], kept[None, cut:], seed=seed)
            line = {"closer": name, "form": form, "kept": float(kept[cut:].mean())}
            for key, value in (("gain", gain), ("validation", chosen)):
                line |= {key: value.mean, f"{key}_lo": value.low, f"{key}_hi": value.high}
            tried.append(line)
            if chosen.low > 0 and (chosen.mean, name) > best:
                best, chosen_closer = (chosen.mean, name), closer
    return StoreAdvice(
        store=rows.spec,
        index=facts.index,
        codec=facts.codec,
        score=score,
        items=(sample.rows.rows, sample.of),
        queries=(cut, len(test)),
        choice=best[1],
        tried=tuple(tried),
        left=sample.left,
        warning=uneven(sample.rows.read(), score),
        _closer=chosen_closer,
    )
