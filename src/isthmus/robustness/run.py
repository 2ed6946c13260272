"""A whole grid to a file: streamed, resumed after a kill, the same bytes whatever happened.

Finished perturbations go step by step into a journal beside the output
(:mod:`isthmus.data.journal`); a run that finds the journal of the same work goes on after its last
step, and starts anew on that of another. The table is written in the order of the work and renamed
into place. Memory: the rows of the task, and the mapped rows of one batch of closers.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from isthmus._version import __version__
from isthmus.closers.closer import Closer
from isthmus.data.atomic import plain, write_json
from isthmus.data.journal import Journal
from isthmus.data.records import write_parquet
from isthmus.errors import OptionError
from isthmus.robustness.measurements import measure_perturbation
from isthmus.robustness.perturbations import Perturbation, check_perturbation
from isthmus.robustness.searches import closed_searches
from isthmus.robustness.table import rows_of
from isthmus.search.task import RetrievalTask

BATCH_NUMBERS = 2**26
"""Mapped numbers held at once: 512 MB of float64 rows. A batch never depends on anything else."""

Row = dict[str, Any]
_LOG = logging.getLogger("isthmus.robustness")


def run_grid(
    tasks: Mapping[int, RetrievalTask],
    closers: Sequence[Closer],
    perturbations: Sequence[Perturbation],
    *,
    trials: int,
    control_trials: int | None = None,
    by_law: bool = False,
    out: Path | None = None,
    say: Callable[[int, int], None] | None = None,
) -> list[Row]:
    """Every closer × perturbation × seed, as rows of the contract with their gains.

    Args:
        tasks: seed -> the task under it (the seed draws the noise; the task holds the calibration
            rows that it drew).
        closers: with ``none`` among them for gains; one fitted closer per strength.
        perturbations: see :func:`perturbations_of`.
        trials: noise draws per perturbation, ``control_trials`` of those on queries or both.
        by_law: Gaussian noise goes by its law where there is one.
        out: ``.parquet`` or ``.json`` file, or None for rows alone.
        say: called with (perturbations done, all of them).

    Raises:
        OptionError: nothing to do, or an output of another kind.
    """
    work = _Work(tasks, closers, perturbations, trials, control_trials or trials, by_law)
    work.check()
    if out is not None:
        check_table_suffix(out)
    steps = len(tasks) * len(work.batches()) * len(perturbations)
    tell = say or (lambda done, of: None)
    with nullcontext() if out is None else Journal(out, {"work": work.fingerprint()}) as journal:
        table: list[list[Row]] = []
        if journal is not None:
            if journal.others():
                _LOG.info("%s is of other work and starts anew", journal.path)
                journal.restart()
            table += [rows for rows, _ in journal.steps()]
        tell(len(table), steps)
        for rows in work.remaining(skip=len(table)):
            table.append(json.loads(json.dumps(plain(rows))))
            if journal is not None:
                journal.append(table[-1])
            tell(len(table), steps)
        order = work.by_closer(table)
        if out is not None and journal is not None:
            write_table(out, order)
            journal.remove()
    return order


@dataclass(frozen=True, eq=False)
class _Work:
    """What a run of the grid has to do."""

    tasks: Mapping[int, RetrievalTask]
    closers: Sequence[Closer]
    perturbations: Sequence[Perturbation]
    trials: int
    control_trials: int
    by_law: bool

    def check(self) -> None:
        if not self.tasks or not self.closers or not self.perturbations:
            raise OptionError(
                "nothing-to-stress",
                "nothing to stress: expected at least one seed, one closer and one perturbation",
            )
        for perturbation in self.perturbations:
            check_perturbation(perturbation)

    def batches(self) -> list[list[Closer]]:
        """Closers whose mapped rows fit in memory together; plain search leads every batch."""
        task = next(iter(self.tasks.values()))
        size = task.queries.size + task.candidates.size
        plain_ones = [c for c in self.closers if c.name == "none"]
        others = [c for c in self.closers if c.name != "none"]
        count = max(1, BATCH_NUMBERS // max(size, 1) - len(plain_ones))
        starts = range(0, len(others), count)
        return [plain_ones + others[start : start + count] for start in starts] or [plain_ones]

    def remaining(self, skip: int) -> Iterator[list[Row]]:
        """Rows of one batch of closers in one perturbation under one seed, from ``skip`` on."""
        step = 0
        for seed, task in self.tasks.items():
            for number, batch in enumerate(self.batches()):
                if step + len(self.perturbations) <= skip:
                    step += len(self.perturbations)
                    continue
                searches = closed_searches(task, batch)
                plain_only = sum(c.name == "none" for c in batch) if number else 0
                for perturbation in self.perturbations:
                    step += 1
                    if step > skip:
                        drawn = perturbation.target in ("candidates", "shared")
                        count = self.trials if drawn else self.control_trials
                        results = measure_perturbation(
                            task,
                            searches,
                            perturbation,
                            trials=count,
                            seed=seed,
                            by_law=self.by_law,
                        )
                        yield rows_of(task, results, seed)[plain_only:]

    def by_closer(self, table: Sequence[list[Row]]) -> list[Row]:
        """Seed by seed, closer by closer, each through its perturbations in their order."""
        size = len(self.perturbations)
        blocks = [table[start : start + size] for start in range(0, len(table), size)]
        return [row for steps in blocks for rows in zip(*steps, strict=True) for row in rows]

    def fingerprint(self) -> str:
        """A digest of what was asked and of all rows: any change of it starts anew."""
        digest = hashlib.sha256()

        def take(array: np.ndarray | None) -> None:
            digest.update(b"-" if array is None else repr((array.shape, array.dtype.str)).encode())
            if array is not None:
                digest.update(np.ascontiguousarray(array).data)

        for seed, task in self.tasks.items():
            digest.update(f"{seed} {task.direction} {task.relevance.task}".encode())
            for array in (
                task.queries,
                task.candidates,
                task.relevance.pairs,
                task.candidate_calibration,
                task.query_calibration,
                task.lists,
            ):
                take(array)
        for closer in self.closers:
            digest.update(
                f"{closer.name} {closer.score} {closer.strength!r} {closer.memo}".encode()
            )
            take(closer.bias_weights)
            for step in (*closer.query.steps, *closer.candidate.steps):
                digest.update(f"{step.dim} {step.normalised} {step.renormalised}".encode())
                take(step.matrix)
                take(step.offset)
        asked = (
            [repr(p) for p in self.perturbations],
            self.trials,
            self.control_trials,
            self.by_law,
        )
        digest.update(f"{asked} {__version__}".encode())
        return digest.hexdigest()


def check_table_suffix(out: Path) -> None:
    """Refuse a table under another name than .parquet or .json.

    Raises:
        OptionError: it has another suffix.
    """
    if out.suffix not in (".parquet", ".json"):
        raise OptionError(
            "unknown-suffix", f"{out}: the table is a .parquet or .json file; name it so"
        )


def write_table(out: Path, rows: Sequence[Row]) -> None:
    """Rows as Parquet or JSON, renamed into place."""
    if out.suffix == ".json":
        write_json(out, list(rows))
    else:
        write_parquet(out, rows)
