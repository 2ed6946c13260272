"""Rows of any size through a closer, file to file, block by block."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from contextvars import Context
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from isthmus.closers.closer import Closer, Role, check_role
from isthmus.closers.validity import invalid_rows, refuse_invalid
from isthmus.data import Rows, RowWriter, atomic_path, open_rows, write_json
from isthmus.data.atomic import scratch_folder, together
from isthmus.data.ids import ids_file
from isthmus.data.overwriting import foreign, refuse_foreign, refuse_overwriting
from isthmus.data.parts import Engine, cut, over_parts
from isthmus.data.source import ids_of
from isthmus.data.summary import opened
from isthmus.data.writer import holds_columns
from isthmus.errors import FileError, OptionError, ShapeError

BLOCK = 16384
PART_BLOCKS = 16
"""Blocks that an engine's worker maps before it answers."""
SKIP = ", or leave such rows out with --skip-invalid (skip_invalid=True)"


@dataclass(frozen=True)
class Applied:
    """What was written.

    Attributes:
        closer, role, score: which closer, for what, and how the rows are searched.
        rows, dim: shape of what was written. skipped: rows of the input that were left out.
        out: the file. bias: where the candidate biases are (``FILE:bias`` is a column), or None.
        ids: where the rows' ids are, likewise; None: the input has none.
    """

    closer: str
    role: Role
    score: str
    rows: int
    dim: int
    out: str
    bias: str | None
    skipped: tuple[int, ...] = ()
    skipped_file: str | None = None
    ids: str | None = None


@dataclass(frozen=True, eq=False)
class _Mapped:
    """A block of ``given`` rows: what cannot be mapped, by its fault, and what became of the rest.

    ``rows`` are none where they are still in a file.
    """

    given: int
    faults: dict[str, np.ndarray]
    rows: np.ndarray
    bias: np.ndarray | None

    @property
    def wrong(self) -> np.ndarray:
        """Places of the rows that were left out."""
        return np.concatenate([np.empty(0, np.int64), *self.faults.values()])


@dataclass(frozen=True, eq=False)
class _Work:
    """What is done with the rows of a source, here or by an engine's workers."""

    closer: Closer
    role: Role
    source: Rows
    folder: Path | None = None

    @property
    def dtype(self) -> str:
        """Number format of what is written."""
        return "float64" if self.source.dtype == "float64" else "float32"

    @property
    def biased(self) -> bool:
        """Whether there is a bias for each row."""
        return self.role == "candidate" and self.closer.bias_weights is not None

    def blocks(self, start: int = 0, stop: int | None = None) -> Iterator[_Mapped]:
        """Map rows [start, stop) block by block."""
        side = self.closer.map_of(self.role)
        for block in self.source.blocks(BLOCK, start, stop):
            given, found = len(block), invalid_rows(block, normalised=side.normalised)
            if found:
                block = np.delete(block, np.concatenate(list(found.values())), axis=0)
            bias = self.closer.candidate_bias(block) if self.biased and len(block) else None
            yield _Mapped(given, found, np.asarray(side(block)), bias)

    def __call__(self, part: tuple[int, int]) -> list[_Mapped]:
        """Map a part into a file of the folder; whoever does it again writes the same."""
        return Context().run(self._written, part)  # the file is in place at once, in no set

    def _written(self, part: tuple[int, int]) -> list[_Mapped]:
        assert self.folder is not None
        done = []
        dim = self.closer.map_of(self.role).dim_out
        with RowWriter(self.folder / f"{part[0]}.npy", dim, self.dtype) as writer:
            for mapped in self.blocks(*part):
                writer.write(mapped.rows)
                done.append(replace(mapped, rows=mapped.rows[:0]))
        return done

    def by(self, engine: Engine) -> Iterator[_Mapped]:
        """The same blocks in order, from the files that the engine's workers write."""
        assert self.folder is not None
        parts = cut(self.source.rows, PART_BLOCKS * BLOCK)
        for (start, _), done in zip(parts, over_parts(self, parts, engine), strict=True):
            file, at = self.folder / f"{start}.npy", 0
            rows = np.load(file, mmap_mode="r", allow_pickle=False)
            for mapped in done:
                kept = mapped.given - len(mapped.wrong)
                yield replace(mapped, rows=np.asarray(rows[at : at + kept]))
                at += kept
            file.unlink()


def apply_to_file(
    closer: Closer | str | os.PathLike[str],
    rows: Any,
    role: Role,
    out: str | os.PathLike[str],
    *,
    bias_out: str | os.PathLike[str] | None = None,
    skip_invalid: bool = False,
    engine: Engine = None,
    progress: Callable[[str, int, int], None] | None = None,
) -> Applied:
    """Map rows of one role and write them; memory is one block.

    Args:
        closer: a closer, or its file. rows: an array, path, glob or ``Rows``.
        role: ``query`` or ``candidate``.
        out: .npy, .npz, .safetensors, .parquet, .arrow or .jsonl; float64 rows stay so, others
            become float32. Ids of the rows go into the column ``id`` of a table or .npz, or into
            ``OUT.ids.json`` beside ``out``.
        bias_out: candidates: file of the biases, .npy. None: ``STEM.bias.npy`` beside ``out``, or
            the column ``bias`` of a table or .npz. Nothing is written where there are no biases.
        skip_invalid: leave out rows that cannot be mapped, and list their numbers, one a line, in
            ``STEM.skipped.txt`` beside ``out``.
        engine: maps parts of the rows, which lie beside ``out`` until they are put together
            (:func:`isthmus.engines.open_engine`). None: this process.

    Raises:
        ValuesError: NaN, infinity, or zero rows that the map normalises; no file is left.
        OptionError: another role, or ``bias_out`` where there are no biases.
        ShapeError: rows of another dimension than the closer's. FileError: as readers and writers.
    """
    role, target = check_role(role), Path(out)
    fitted = closer if isinstance(closer, Closer) else Closer.load(closer)
    side, source = fitted.map_of(role), opened(rows, "rows")
    if source.dim != side.dim:
        raise ShapeError(
            "wrong-dim",
            f"{source.name} has {source.dim} dimensions, but {fitted.name} was fitted for "
            f"{side.dim}; use rows of the same model",
        )
    work = _Work(fitted, role, source)
    biased = work.biased
    columns, ids = holds_columns(target), ids_of(source)
    in_column = biased and columns
    ids_out = None if ids is None or columns else Path(f"{target}.ids.json")
    if bias_out is not None and not biased:
        raise OptionError(
            "no-bias", "--bias-out: this closer has no candidate bias for these rows; leave it out"
        )
    list_file = _neighbour(target, ".skipped.txt") if skip_invalid else None
    if bias_out is None and biased and not in_column:
        bias_out = _neighbour(target, ".bias.npy")
        _refuse_foreign_bias(Path(bias_out), target)
    for listed in (list_file, ids_out):
        if listed is not None:
            refuse_foreign(listed, target, "")
    if ids is None and (stale := ids_file(str(target))):
        raise FileError(
            "ids-of-other-rows",
            f"'{stale}' would give ids to the rows of '{target}', whose input has none; move it",
        )
    refuse_overwriting(
        {"out": target, "bias_out": bias_out, "skipped": list_file, "ids": ids_out},
        {"closer": closer, "rows": rows},
    )
    biases: list[np.ndarray] = []
    faults: dict[str, list[int]] = {}
    done = 0
    with together(), ExitStack() as stack:
        writer = stack.enter_context(RowWriter(target, side.dim_out, work.dtype))
        if engine is not None:
            work = replace(work, folder=stack.enter_context(scratch_folder(target)))
        for mapped in work.blocks() if engine is None else work.by(engine):
            extra = {"id": ids[done : done + mapped.given]} if ids is not None and columns else {}
            for fault, places in mapped.faults.items():
                faults.setdefault(fault, []).extend((places + done).tolist())
            done += mapped.given
            extra = {name: np.delete(values, mapped.wrong) for name, values in extra.items()}
            if len(mapped.rows) and (skip_invalid or not faults):
                if in_column and mapped.bias is not None:
                    extra["bias"] = mapped.bias
                writer.write(mapped.rows, extra)
                biases += [] if mapped.bias is None else [mapped.bias]
            if progress is not None:
                progress(role, done, source.rows)
        if not skip_invalid or writer.written == 0:
            hint = "" if skip_invalid else SKIP
            refuse_invalid(faults, source.name, hint, source)  # leaves no file
        skipped = tuple(sorted(row for rows_ in faults.values() for row in rows_))
        if bias_out is not None:
            with atomic_path(bias_out) as temporary, open(temporary, "wb") as stream:
                np.save(stream, np.concatenate(biases), allow_pickle=False)
        if ids is not None and ids_out is not None:
            write_json(ids_out, np.delete(ids, skipped).tolist())
        if list_file is not None:
            with atomic_path(list_file) as temporary:
                temporary.write_text("".join(f"{row}\n" for row in skipped), encoding="utf-8")
    where = str(bias_out) if bias_out is not None else f"{out}:bias" if in_column else None
    return Applied(
        fitted.name,
        role,
        fitted.score,
        writer.written,
        side.dim_out,
        str(out),
        where,
        skipped,
        None if list_file is None else str(list_file),
        None if ids is None else f"{out}:id" if columns else str(ids_out),
    )


def _neighbour(target: Path, ending: str) -> Path:
    return target.parent / f"{target.stem}{ending}"  # a name that is no file's is refused later


def _refuse_foreign_bias(path: Path, target: Path) -> None:
    """Replace ``STEM.bias.npy`` only where it holds a bias per row of an earlier ``target``."""
    hint = ", or name a file by --bias-out (bias_out)"
    refuse_foreign(path, target, hint)
    if path.exists():
        try:
            bias = np.load(path, mmap_mode="r", allow_pickle=False)
            same = bias.shape == (open_rows(target).rows,)
        except (OSError, ValueError):
            same = False
        if not same:
            raise foreign(path, target, hint)
