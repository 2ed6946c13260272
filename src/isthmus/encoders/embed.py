"""Embed a folder of images or a file of texts to a file of rows; a killed run goes on.

While it runs, ``OUT.partial`` holds the rows so far (float32, row after row) and
``OUT.partial.json`` says whose they are and how many inputs they stand for. Rows reach the disk
before the state that counts them, so whatever a kill leaves behind, the state is true and the
surplus is cut off. Both are removed once ``OUT`` is in place.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from time import perf_counter
from typing import BinaryIO

import numpy as np

from isthmus.data import RowWriter, atomic_path, write_json
from isthmus.encoders.ahead import batched
from isthmus.encoders.base import Encoder, Progress
from isthmus.encoders.images import UnreadableImage
from isthmus.encoders.inputs import Inputs, Kind, Source, open_source
from isthmus.errors import CorruptFile, FileError, IsthmusError

STATE_SECONDS = 0.5
"""So much work a killed process may have to do again; one that fails or is interrupted, none."""

CHUNK = 4096
"""Rows at a time when the work file is turned into the file asked for."""


@dataclass(frozen=True)
class Skipped:
    """An input that has no row."""

    index: int
    path: str
    reason: str


@dataclass(frozen=True)
class EmbedResult:
    """``rows`` rows in ``out``; ``ids`` says where their identities are (None: in ``out``)."""

    out: Path
    rows: int
    skipped: list[Skipped] = field(default_factory=list)
    ids: Path | None = None


@dataclass
class _State:
    """What the rows of a work file are of. The first five fields must match for a run to go on."""

    encoder: str
    dim: int
    kind: str
    inputs: int
    digest: str
    done: int = 0
    rows: int = 0
    skipped: list[Skipped] = field(default_factory=list)


def embed_to_file(
    encoder: Encoder,
    inputs: Inputs,
    out: str | os.PathLike[str],
    *,
    kind: Kind = "images",
    batch_size: int = 64,
    strict: bool = False,
    progress: Progress | None = None,
) -> EmbedResult:
    """Embed ``inputs`` (see :func:`~isthmus.encoders.inputs.open_source`) into ``out``.

    ``out`` ends in ``.npy``, ``.safetensors`` or ``.parquet`` and gets (n, dim) float32, in the
    order of the inputs. Row i's identity (an image's path, relative to its folder as listed; a
    text itself) is entry i of ``OUT.ids.json``, or the column ``id`` of a Parquet file. An image
    that cannot be read has no row and is listed in ``OUT.skipped.json`` as (index, path, reason),
    index being its place among the inputs; with ``strict`` it ends the run instead, and what was
    done until then is kept.

    A run that was killed goes on where it stopped when it is started again with the same encoder
    name and the same list; all but the last half second of it is not computed again, and the
    bytes of ``out`` are those of an uninterrupted run of the same batch size. ``progress`` hears
    how many are done.

    Memory: two batches. Disk: the rows once more while they are converted. Raises
    :class:`~isthmus.errors.FileError` when the work files are of another encoder or list, or in
    use; :class:`~isthmus.encoders.images.UnreadableImage` as said, and when nothing is readable.
    """
    out = Path(out)
    writer = RowWriter(out, encoder.dim, dtype="float32")  # refuses a bad name before the work
    source = open_source(inputs, kind)
    count, digest = source.fingerprint()
    if count == 0:
        raise FileError(f"{source.label} is empty; expected at least one of the {kind}")
    state = _State(encoder.name, encoder.dim, kind, count, digest)
    work, note = _beside(out, ".partial"), _beside(out, ".partial.json")
    out.parent.mkdir(parents=True, exist_ok=True)
    with _locked(work) as rows_file:
        _resume(state, note, rows_file, work)
        if strict and state.skipped:
            raise UnreadableImage(f"{state.skipped[0].reason} (strict; nothing is skipped)")
        try:
            _embed(encoder, source, state, note, rows_file, batch_size, strict, progress)
            _report_skipped(out, state)
            if state.rows == 0:
                raise UnreadableImage(
                    f"none of the {count} images of {source.label} could be read; the first: "
                    f"{state.skipped[0].reason}"
                )
            ids = _finish(writer, source, state, work)
        except BaseException:  # Ctrl-C too
            _keep(state, note, rows_file)
            raise
        note.unlink(missing_ok=True)  # a short run wrote none
    work.unlink()  # only now: some systems do not remove an open file
    return EmbedResult(out, state.rows, state.skipped, ids)


def _embed(
    encoder: Encoder,
    source: Source,
    state: _State,
    note: Path,
    rows_file: BinaryIO,
    batch_size: int,
    strict: bool,
    progress: Progress | None,
) -> None:
    """Batch after batch to the work file, from where the state says."""
    first = state.done
    left = islice(source.inputs(), first, None)
    names = islice(source.items(), first, None)
    skipped: list[tuple[int, Exception]] = []
    if progress is not None and first:
        progress(first)
    if source.kind == "images":
        batches = encoder.iter_image_batches(
            left,
            batch_size=batch_size,
            on_unreadable="raise" if strict else "skip",
            on_skip=lambda index, error: skipped.append((index, error)),
        )
    else:
        batches = encoder.iter_text_batches(left, batch_size=batch_size)
    written = perf_counter()
    for (_, rows), batch in zip(batches, batched(names, batch_size), strict=True):
        rows_file.write(np.ascontiguousarray(rows, dtype="<f4").tobytes())
        for index, error in skipped:
            name = batch[first + index - state.done]
            state.skipped.append(Skipped(first + index, _utf8(name), _utf8(str(error))))
        skipped.clear()
        state.done += len(batch)
        state.rows += len(rows)
        if perf_counter() - written > STATE_SECONDS:
            _keep(state, note, rows_file)
            written = perf_counter()
        if progress is not None:
            progress(state.done)
    rows_file.flush()


def _keep(state: _State, note: Path, rows_file: BinaryIO) -> None:
    """Rows to the disk, and only then the state that counts them."""
    rows_file.flush()
    os.fsync(rows_file.fileno())
    write_json(note, asdict(state))


def _resume(state: _State, note: Path, rows_file: BinaryIO, work: Path) -> None:
    """Fill ``state`` from an earlier run and cut the work file to what it counts."""
    if note.exists():
        old = _read_state(note)
        for name, what in (
            ("encoder", "encoder"),
            ("dim", "length of a row"),
            ("kind", "kind of input"),
            ("inputs", "number of inputs"),
            ("digest", "list of inputs"),
        ):
            have, want = getattr(old, name), getattr(state, name)
            if have != want:
                said = f": {have} there, {want} now" if name != "digest" else ""
                raise FileError(
                    f"{note} is of an unfinished run with another {what}{said}; finish that run, "
                    f"delete {note} and {work.name} to start over, or write to another file"
                )
        state.done, state.rows, state.skipped = old.done, old.rows, old.skipped
    size = state.rows * state.dim * 4
    have = rows_file.seek(0, os.SEEK_END)
    if have < size:
        raise CorruptFile(
            f"{work} holds {have} bytes, fewer than the {size} that {note.name} counts; delete "
            "both to start over"
        )
    rows_file.truncate(size)
    rows_file.seek(size)


def _read_state(note: Path) -> _State:
    try:
        data = json.loads(note.read_text(encoding="utf-8"))
        data["skipped"] = [Skipped(**item) for item in data["skipped"]]
        return _State(**data)
    except IsthmusError:
        raise
    except (ValueError, KeyError, TypeError) as error:
        raise CorruptFile(
            f"{note} is not the state of an unfinished run ({error}); delete it to start over"
        ) from None


def _finish(writer: RowWriter, source: Source, state: _State, work: Path) -> Path | None:
    """The work file -> the file asked for, with the identities of its rows."""
    gone = {item.index for item in state.skipped}

    def kept() -> Iterator[str]:
        return (_utf8(item) for index, item in enumerate(source.items()) if index not in gone)

    out, dim = Path(writer.path), state.dim
    parquet = out.suffix.lower() == ".parquet"
    ids = None if parquet else _beside(out, ".ids.json")
    if ids is not None:
        _write_list(ids, kept())
    identities = batched(kept(), CHUNK)
    with open(work, "rb") as rows_file, writer:
        while data := rows_file.read(CHUNK * dim * 4):
            block = np.frombuffer(data, dtype="<f4").reshape(-1, dim)
            writer.write(block, {"id": np.array(next(identities), object)} if parquet else None)
    return ids


def _write_list(path: Path, items: Iterator[str]) -> None:
    """A JSON list, one entry a line, without holding it."""
    encode = json.JSONEncoder(ensure_ascii=False).encode  # json.dumps would make one an entry
    with atomic_path(path) as temporary, open(temporary, "w", encoding="utf-8") as file:
        for number, item in enumerate(items):
            file.write(("[\n" if number == 0 else ",\n") + encode(item))
        file.write("\n]\n")


def _report_skipped(out: Path, state: _State) -> None:
    path = _beside(out, ".skipped.json")
    if state.skipped:
        write_json(path, [asdict(item) for item in state.skipped])
    else:
        path.unlink(missing_ok=True)


def _utf8(text: str) -> str:
    """File names that are not UTF-8 have no form in JSON or Parquet: show their bytes."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _beside(out: Path, suffix: str) -> Path:
    return out.with_name(out.name + suffix)


class _locked:
    """Open the work file for this run alone (where the system has advisory locks)."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __enter__(self) -> BinaryIO:
        self.file: BinaryIO = open(self.path, "a+b")
        try:
            from fcntl import LOCK_EX, LOCK_NB, flock
        except ImportError:
            return self.file
        try:
            flock(self.file, LOCK_EX | LOCK_NB)
        except OSError:
            self.file.close()
            raise FileError(f"{self.path} is in use by another run; wait for it to end") from None
        return self.file

    def __exit__(self, *_: object) -> None:
        self.file.close()
