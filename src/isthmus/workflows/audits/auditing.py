"""The main job: two sets of embeddings in, one report and a closer per direction out.

open -> one pass over all rows (statistics, moments; streaming) -> refuse or warn -> sample
  -> gap report
  -> per direction: closers -> clean search -> stress grid -> radii -> recommendation
  -> mixed search -> one plain dict (``report.json``, schema 1)
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from isthmus._version import __version__
from isthmus.closers.closer import Closer
from isthmus.core.checks import one_of
from isthmus.core.levels import usual_convention
from isthmus.core.progress import Progress, quiet
from isthmus.core.threads import one_blas_thread
from isthmus.data import write_json
from isthmus.data.atomic import output_folder, together
from isthmus.data.neighbours import Neighbours, read_neighbours
from isthmus.data.provenance import files_digest, versions
from isthmus.data.records import Record
from isthmus.data.row_stats import InputWarning, broken_of
from isthmus.data.source import ids_of
from isthmus.metrics.gap_report import gap_of
from isthmus.metrics.picture import gap_picture
from isthmus.report.axes import draw
from isthmus.report.charts import Chart, Series
from isthmus.robustness import GAUSSIAN_LEVELS, Result
from isthmus.robustness.mixed import PoolCloser, mixed_share
from isthmus.robustness.stress_runs import MAX_CANDIDATES, MAX_QUERIES
from isthmus.search.inputs import Input
from isthmus.search.opening import Right
from isthmus.search.task import RetrievalTask
from isthmus.workflows.audits.direction import Direction, direction_part
from isthmus.workflows.audits.disturbed import Disturbed, marks, open_disturbed
from isthmus.workflows.audits.gallery import gallery_entry, sample_warning
from isthmus.workflows.audits.options import AuditOptions
from isthmus.workflows.audits.pool import pool_verdict
from isthmus.workflows.recommendation import DEFAULT_FLOOR, nothing_recommended

if TYPE_CHECKING:
    from isthmus.engines.opening import Engine

SCHEMA = 1
FIT_EQUALS_SCORE = InputWarning(
    "fit-equals-score",
    "the closers' means and ranges of directions were fitted on the rows they are scored "
    "on (guarantees hold for any fit; flips removed may be slightly optimistic); "
    "--fit-share 0.5 scores queries the fit has not seen",
)


@dataclass(frozen=True, eq=False)
class Audit(Record):
    """The report as a plain dict, and the recommended closer of each direction.

    Attributes:
        report: ``report.json``. closers: ``a_to_b`` and ``b_to_a`` -> the recommended closer; empty
            where a finding makes every number meaningless.
        results: direction -> what was measured behind each row of its stress table.
        pool: what levels a pool of both modalities, where that helps.
    """

    report: dict[str, Any]
    closers: dict[str, Closer]
    results: dict[str, list[Result]] = field(repr=False, default_factory=dict)
    pool: PoolCloser | None = None

    def to_dict(self) -> dict[str, Any]:
        """The report."""
        return self.report

    def rows(self) -> list[dict[str, Any]]:
        """The stress rows of both directions."""
        return [dict(row) for entry in self.report["directions"] for row in entry["stress"]]

    def card(self) -> tuple[str, list[dict[str, Any]]]:
        """The gap, and what is recommended in each direction."""
        shown = ("closer", "score", "flips_before", "flips_after", "clean_agreement", "reason")
        rows = [
            {"from": entry["query_name"], "to": entry["candidate_name"]}
            | {name: entry["recommendation"][name] for name in shown}
            for entry in self.report["directions"]
        ]
        return f"Modality gap {self.report['gap']['norm']:.3f}", rows

    def plot(self, direction: str = "a_to_b", *, axes: Any = None) -> list[Any]:
        """The paper's figure: consistency under noise (predicted) and clean accuracy, or agreement
        where nothing is known to be right, against the strength of each closing.

        Args:
            direction: ``a_to_b`` or ``b_to_a``. axes: two matplotlib axes; None: a new figure.

        Returns:
            The two axes.

        Raises:
            MissingExtra: matplotlib is not installed. OptionError: another direction.
        """
        entries = {f"{e['query']}_to_{e['candidate']}": e for e in self.report["directions"]}
        entry = entries[one_of(direction, entries, "direction")]
        curve = entry["closing_curve"]
        right = "accuracy" if curve[0]["accuracy"] is not None else "clean_agreement"
        about = f"{entry['query_name']} asks for {entry['candidate_name']}"
        charts = []
        for key, words in (("predicted_consistency", "consistency"), (right, right)):
            series = []
            for name in dict.fromkeys(point["closer"] for point in curve):
                own = [point for point in curve if point["closer"] == name]
                at, up = ([point[part] for point in own] for part in ("strength", key))
                series.append(Series(name, at, up))
            said = words.replace("_", " ")
            charts.append(Chart(f"{said}: {about}", "strength of the closing", said, series))
        return draw(charts, axes)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """``.json`` is the report, ``.html`` its page, ``.parquet`` its stress rows.

        A name without a suffix is a folder: ``report.json``, ``report.html``, the recommended
        closer of each direction and that of a mixed pool, whose files the report then names.

        Raises:
            OptionError: another suffix. FileError: something cannot be written.
        """
        out = Path(path)
        if out.suffix and not out.is_dir():
            return super().save(out)
        output_folder(out)
        with together():
            for entry in self.report["directions"]:
                name = f"{entry['query']}_to_{entry['candidate']}"
                if name in self.closers:
                    file = f"closer-{name}.safetensors"
                    self.closers[name].save(out / file)
                    entry["recommendation"]["file"] = file
            if self.pool is not None:
                file = "closer-pool.safetensors"
                self.pool.save(out / file)
                self.report["mixed"]["verdict"]["file"] = file
            write_json(out / "report.json", self.report)
            self._save_page(out / "report.html")
        return out

    def _save_page(self, path: Path) -> None:
        from isthmus.report.render import write_html

        write_html(path, self.report)


@one_blas_thread()
def audit(
    a: Any,
    b: Any,
    *,
    names: tuple[str, str] = ("image", "text"),
    relevance: Any = None,
    labels: Any = None,
    paired: bool | None = None,
    query_items: Any = None,
    candidate_items: Any = None,
    score: str = "cosine",
    levels: Sequence[float] = GAUSSIAN_LEVELS,
    convention: str | None = None,
    trials: int | None = None,
    floor: float = DEFAULT_FLOOR,
    fit_share: float = 0.0,
    max_queries: int = MAX_QUERIES,
    max_candidates: int = MAX_CANDIDATES,
    seed: int = 0,
    neighbours: Any = None,
    gallery_rows: int | None = None,
    disturbed_queries: Mapping[str, Any] | None = None,
    disturbed_candidates: Mapping[str, Any] | None = None,
    engine: Engine = None,
    progress: Progress | None = None,
) -> Audit:
    """Measure the gap, stress the answers in both directions, recommend a closing.

    Args:
        a, b: (n, d) and (m, d) arrays or tensors, paths, globs or ``RowSource``.
        names: what the two are called.
        relevance, labels, paired: what is right, see :func:`isthmus.open_task`; ``labels`` make b
            the class texts.
        query_items, candidate_items: names of items, arrays or files of them: rows of a (of b) with
            one name are one item. Rows that repeat an earlier row exactly are one by themselves.
        score: how you search today; under cosine rows are normalised first.
        levels: variances of the noise. convention: what a level is: total, coordinate, spread or
            relative; None: total for rows of unit norm, else relative.
        trials: noise draws per level; None: 60, fewer for large inputs.
        floor: least share of today's answers that a recommended closer keeps undisturbed.
        fit_share: part of the queries that closers are fitted on and that is not scored.
        max_queries, max_candidates: most that are searched, seeded samples.
        neighbours: what a store returned for each row of a from a gallery that cannot be read: a
            file, or three columns, of query row, candidate row or id, score. b then holds random
            rows of that gallery, 10,000 or more. gallery_rows: how many it has; None: estimated.
        disturbed_queries, disturbed_candidates: name of what was done -> rows of all of a (of b)
            after it, in order, such as ``{"JPEG 30": rows}``: marks of the ruler.
        seed: of everything random. engine: what folds and searches rows that are many
            (:func:`isthmus.engines.open_engine`); None: processes of this machine.
        progress: called with (what, done, all).

    Cost: one streaming pass over all rows, O((n + m) d²); then about 60 searches of 2,000 × 10,000
    at most for each of 6 closers and 15 perturbations. Where there are more candidates, one more
    pass in which the queries are searched among all of them (``docs/gallery.md``).

    Raises:
        IsthmusError: rows or options that are refused; the sentence says why.

    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> images = rng.normal(size=(40, 8)) + 2
    >>> result = audit(images, images + 0.3 * rng.normal(size=(40, 8)) - 4, trials=1)
    >>> result.report["gap"]["severity"], sorted(result.closers)
    ('severe', ['a_to_b', 'b_to_a'])
    """
    opts = AuditOptions(
        names=names,
        score=score,
        levels=tuple(levels),
        convention=convention,
        trials=trials,
        floor=floor,
        fit_share=fit_share,
        max_queries=max_queries,
        max_candidates=max_candidates,
        seed=seed,
    )
    say = progress or quiet
    if neighbours is not None and relevance is None and labels is None:
        paired = False  # b holds random rows
    right = Right(relevance, labels, paired, query_items, candidate_items)
    task, about_pairs = right.open(
        a,
        b,
        names,
        score=score,
        names=names,
        direction="a_to_b",
        max_rows=max_candidates,
        summarised=True,
        seed=seed,
        engine=engine,
        progress=say,
    )
    lists = None
    if neighbours is not None:
        assert task.query_input is not None
        asked = task.query_input.source
        euclidean = score == "euclidean"
        lists = read_neighbours(neighbours, asked.rows, distances=euclidean, ids=ids_of(asked))
    about_pairs += _of_lengths(task, names, **right.said)
    disturbed = open_disturbed(task, disturbed_queries, disturbed_candidates)
    return _audited(task, about_pairs, opts, say, disturbed, (lists, gallery_rows), engine)


def _of_lengths(task: RetrievalTask, names: tuple[str, str], **said: Any) -> list[InputWarning]:
    """That rows of two numbers are no pairs, where nobody said what is right."""
    if task.relevance.judged.any() or any(given is not None for given in said.values()):
        return []
    a, b = (one.source.rows for one in (task.query_input, task.candidate_input) if one is not None)
    if a == b:
        return []
    text = (
        f"{names[0]} and {names[1]} have {a:,} and {b:,} rows, so rows are no pairs and nothing "
        "says what is right: accuracy and figures of pairs are left out; give --relevance or "
        "--labels, or files of the same items"
    )
    return [InputWarning("lengths-differ", text)]


def _audited(
    task: RetrievalTask,
    about_pairs: list[InputWarning],
    opts: AuditOptions,
    say: Progress,
    disturbed: Disturbed,
    beyond: tuple[Neighbours | None, int | None] = (None, None),
    engine: Engine = None,
) -> Audit:
    """Both directions of an opened task, whose queries are a and whose candidates are b.

    ``beyond``: neighbours of a in a gallery of which b holds random rows, and its size.
    """
    opts = replace(opts, convention=opts.convention or usual_convention(task.unit_rows))
    say("gap", 0, 1)
    gap = gap_of(task, opts.names, about_pairs=about_pairs, seed=opts.seed)
    say("gap", 1, 1)
    once = task.distinct()
    parts = {whole.direction: direction_part(whole, opts, say) for whole in (once, once.reversed())}
    sampled = []
    for whole in (once, once.reversed()):
        entry, lists = parts[whole.direction][0], beyond if whole is once else (None, None)
        one = Direction.of(whole, opts)
        entry["ruler"] = sorted(
            [*entry["ruler"], *marks(one.task, disturbed)], key=itemgetter("total_variance")
        )
        found = entry["gallery"] = gallery_entry(one, say, *lists, engine=engine)
        if found:
            sampled.append(
                sample_warning(entry["candidates"], found["rows"], entry["candidate_name"])
            )
    broken = broken_of(gap.warnings)
    if broken is not None:
        for entry, _, _ in parts.values():
            entry["recommendation"] |= nothing_recommended(broken)
    moments = task.query_moments, task.candidate_moments
    pool, levelling = ({}, None) if broken else pool_verdict(task, opts.names, opts.seed)
    warnings = [*gap.warnings, *sampled, *([] if opts.fit_share else [FIT_EQUALS_SCORE])]
    report = {
        "schema": SCHEMA,
        "isthmus": __version__,
        "versions": versions(),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "seed": opts.seed,
        "inputs": {
            "a": _input_entry(task.query_input, once.query_items, len(once.queries)),
            "b": _input_entry(task.candidate_input, once.candidate_items, len(once.candidates)),
            "paired": task.pair is not None,
            "labels": task.relevance.task == "zero-shot",
            "unit_rows": task.normalised,
            "convention": opts.convention,
            "fit_rows": opts.fit_share or "all",
        },
        "gap": gap.to_dict(),
        "picture": gap_picture(
            task.queries,
            task.candidates,
            *(m.mean for m in moments),
            seed=opts.seed,
            paired=task.pair is not None and task.paired,
        ),
        "directions": [entry for entry, _, _ in parts.values()],
        "mixed": mixed_share(once.queries, once.candidates, *moments) | pool,
        "warnings": [warning.to_dict() for warning in warnings],
    }
    withdraw_verdicts(report)
    closers = {name: closer for name, (_, closer, _) in parts.items() if broken is None}
    return Audit(
        report, closers, {name: results for name, (_, _, results) in parts.items()}, levelling
    )


def withdraw_verdicts(report: dict[str, Any]) -> None:
    """Leave no advice on rows of which a warning says that every number is meaningless."""
    if any(warning.get("severity") == "broken" for warning in report["warnings"]):
        for entry in report["directions"]:
            entry |= {"verdict": [], "changes": [], "changes_sentence": None}


def _input_entry(given: Input | None, items: np.ndarray | None, rows: int) -> dict[str, Any]:
    """One side of ``inputs`` in the report; ``rows`` are held, each once, and are ``items``."""
    assert given is not None
    return {
        "name": given.name,
        "source": given.source.spec,
        "rows": given.stats.rows,
        "dim": given.source.dim,
        "dtype": given.source.dtype,
        "norm_mean": given.stats.norm_mean,
        "norm_std": given.stats.norm_std,
        "duplicates": given.stats.duplicates,
        "items": rows if items is None else len(np.unique(items)),
        "ids": None if (ids := ids_of(given.source)) is None else len(np.unique(ids)),
        "sha256": files_digest(given.source.spec),
    }
