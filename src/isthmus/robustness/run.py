"""A whole grid to a file: streamed, resumed after a kill, the same bytes whatever happened.

Finished perturbations go line by line into a journal beside the output; a run that finds the
journal of
the same work goes on after its last whole line. The table is written from the journal, in the
order of the work, and renamed into place. Memory: the rows of the task, and the mapped rows of
one batch of closers.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from isthmus._version import __version__
from isthmus.closers.maps import Closer
from isthmus.data.atomic import atomic_path, plain
from isthmus.errors import OptionError
from isthmus.robustness.grid import measure
from isthmus.robustness.perturbations import Perturbation, check_perturbation
from isthmus.robustness.searches import closed_searches
from isthmus.robustness.table import rows_of
from isthmus.search.task import RetrievalTask

BATCH_NUMBERS = 2**26
"""Mapped numbers held at once: 512 MB of float64 rows. A batch never depends on anything else."""
JOURNAL = ".journal"

Say = Callable[[int, int], None]


def run_grid(
    tasks: Mapping[int, RetrievalTask],
    closers: Sequence[Closer],
    perturbations: Sequence[Perturbation],
    *,
    trials: int,
    control_trials: int | None = None,
    out: Path | None = None,
    say: Say | None = None,
) -> list[dict[str, Any]]:
    """Every closer × perturbation × seed, as rows of the contract with gains beside them.

    Args:
        tasks: seed -> the task under it (the seed draws the noise; the task holds the
            calibration halves it drew).
        closers: with ``none`` among them for gains; one fitted closer per strength.
        perturbations: see :func:`perturbations_of`. trials: noise draws per perturbation,
        ``control_trials`` of those on
            queries or both.
        out: ``.parquet`` or ``.json`` file, or None for rows alone.
        say: called with (perturbations done, all of them).

    Raises:
        OptionError: nothing to do, or an output of another kind.
    """
    if not tasks or not closers or not perturbations:
        raise OptionError(
            "nothing to stress: expected at least one seed, one closer and one perturbation"
        )
    if out is not None and out.suffix not in (".parquet", ".json"):
        raise OptionError(f"--out {out}: the table is a .parquet or .json file; name it so")
    for perturbation in perturbations:
        check_perturbation(perturbation)
    work = _fingerprint(tasks, closers, perturbations, trials, control_trials)
    batches = list(_batches(next(iter(tasks.values())), closers))
    done = _journal(out, work)
    steps = len(tasks) * len(batches) * len(perturbations)
    table: list[list[dict[str, Any]]] = list(done)
    if say is not None:
        say(len(table), steps)
    for rows in _remaining(tasks, batches, perturbations, trials, control_trials, skip=len(table)):
        table.append(json.loads(json.dumps(plain(rows))))
        if out is not None:
            with _journal_path(out).open("a", encoding="utf-8") as file:
                file.write(json.dumps(table[-1]) + "\n")
        if say is not None:
            say(len(table), steps)
    order = _by_closer(table, len(tasks), len(batches), len(perturbations))
    if out is not None:
        write_table(out, order)
        _journal_path(out).unlink(missing_ok=True)
    return order


def _remaining(
    tasks: Mapping[int, RetrievalTask],
    batches: Sequence[Sequence[Closer]],
    perturbations: Sequence[Perturbation],
    trials: int,
    control_trials: int | None,
    skip: int,
) -> Iterator[list[dict[str, Any]]]:
    """Rows of one batch of closers in one perturbation under one seed, from step ``skip`` on."""
    step = 0
    for seed, task in tasks.items():
        for number, batch in enumerate(batches):
            if step + len(perturbations) <= skip:
                step += len(perturbations)
                continue
            searches = closed_searches(task, batch)
            plain_only = sum(c.name == "none" for c in batch) if number else 0
            for perturbation in perturbations:
                step += 1
                if step <= skip:
                    continue
                count = (
                    trials if perturbation.target in ("candidates", "shared") else control_trials
                )
                results = measure(task, searches, perturbation, trials=count or trials, seed=seed)
                yield rows_of(task, results, seed)[plain_only:]


def _batches(task: RetrievalTask, closers: Sequence[Closer]) -> Iterator[list[Closer]]:
    """Closers whose mapped rows fit beside each other; plain search leads every batch."""
    size = (len(task.queries) + len(task.candidates)) * task.queries.shape[1]
    plain_ones = [c for c in closers if c.name == "none"]
    others = [c for c in closers if c.name != "none"]
    room = max(1, BATCH_NUMBERS // max(size, 1) - len(plain_ones))
    if not others:
        yield plain_ones
    for start in range(0, len(others), room):
        yield plain_ones + others[start : start + room]


def _by_closer(
    table: Sequence[list[dict[str, Any]]], seeds: int, batches: int, perturbations: int
) -> list[dict[str, Any]]:
    """Seed by seed, closer by closer, each through its perturbations in their order."""
    out: list[dict[str, Any]] = []
    for block in range(seeds * batches):
        steps = table[block * perturbations : (block + 1) * perturbations]
        for closer in range(len(steps[0])):
            out += [step[closer] for step in steps]
    return out


def write_table(out: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Rows as Parquet or JSON, renamed into place."""
    if out.suffix == ".json":
        from isthmus.data.atomic import write_json

        write_json(out, list(rows))
        return
    import pyarrow as pa
    import pyarrow.parquet as pq

    names = list(dict.fromkeys(name for row in rows for name in row))
    columns = {name: [row.get(name) for row in rows] for name in names}
    with atomic_path(out) as path:
        pq.write_table(pa.table(columns), path)


def _journal_path(out: Path) -> Path:
    return out.with_name(out.name + JOURNAL)


def _journal(out: Path | None, work: str) -> list[list[dict[str, Any]]]:
    """Steps that a journal of the same work holds; another's, or a torn end, is cut off."""
    if out is None:
        return []
    path = _journal_path(out)
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = path.read_text(encoding="utf-8").split("\n") if path.exists() else []
    same = bool(lines) and lines[0] == work
    # what follows the last line end was being written
    done = [json.loads(line) for line in lines[1:-1]] if same else []
    with atomic_path(path) as fresh:
        fresh.write_text("\n".join([work, *map(json.dumps, done), ""]), encoding="utf-8")
    return done


def _fingerprint(
    tasks: Mapping[int, RetrievalTask],
    closers: Sequence[Closer],
    perturbations: Sequence[Perturbation],
    trials: int,
    control_trials: int | None,
) -> str:
    """What was asked, as one line: any change of it starts anew."""
    digest = hashlib.sha256()

    def take(array: np.ndarray | None) -> None:
        digest.update(b"-" if array is None else repr((array.shape, array.dtype.str)).encode())
        if array is not None:
            digest.update(np.ascontiguousarray(array).data)

    for seed, task in tasks.items():
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
    for closer in closers:
        digest.update(f"{closer.name} {closer.score} {closer.strength!r} {closer.memo}".encode())
        take(closer.bias_weights)
        for step in (*closer.query.steps, *closer.candidate.steps):
            digest.update(f"{step.dim} {step.normalised} {step.renormalised}".encode())
            take(step.matrix)
            take(step.offset)
    digest.update(
        f"{[repr(c) for c in perturbations]} {trials} {control_trials} {__version__}".encode()
    )
    return f"isthmus stress journal {digest.hexdigest()}"
