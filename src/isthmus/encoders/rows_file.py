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
from typing import Any, BinaryIO

import numpy as np

from isthmus.data import RowWriter, atomic_path, write_json
from isthmus.data.records import Record
from isthmus.encoders.base import Encoder, OnDone
from isthmus.encoders.batches import batched
from isthmus.encoders.images import UnreadableImage
from isthmus.encoders.inputs import Source
from isthmus.errors import CorruptFile, FileError

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
class Embedded(Record):
    """A file of rows that a model gave.

    Attributes:
        out: the file. count: its rows. dim: their length. encoder: the name of the model.
        ids: where the identities of the rows are; None: in ``out`` itself.
        skipped: the inputs without a row.
    """

    out: Path
    count: int
    dim: int
    encoder: str
    ids: Path | None = None
    skipped: tuple[Skipped, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain values; the number of rows is called ``rows``."""
        return {"rows" if k == "count" else k: v for k, v in super().to_dict().items()}


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


MUST_MATCH = {
    "encoder": "encoder",
    "dim": "length of a row",
    "kind": "kind of input",
    "inputs": "number of inputs",
    "digest": "list of inputs",
}


def embed_to_file(
    encoder: Encoder,
    source: Source,
    out: str | os.PathLike[str],
    *,
    batch_size: int = 64,
    strict: bool = False,
    on_done: OnDone | None = None,
) -> Embedded:
    """Embed what ``source`` lists into ``out``; see :func:`~isthmus.encoders.embedding.embed`.

    A run that was killed goes on where it stopped when it is started again with the same encoder
    name and the same list; all but the last half second of it is not computed again, and the
    bytes of ``out`` are those of an uninterrupted run of the same batch size. ``on_done`` hears
    how many inputs are done.

    Memory: two batches. Disk: the rows once more while they are converted. Raises
    :class:`~isthmus.errors.FileError` when the work files are of another encoder or list, or in
    use; :class:`~isthmus.encoders.images.UnreadableImage` with ``strict``, and when nothing is
    readable.
    """
    out = Path(out)
    writer = RowWriter(out, encoder.dim, dtype="float32")  # refuses a bad name before the work
    count, digest = source.fingerprint
    state = _State(encoder.name, encoder.dim, source.kind, count, digest)
    out.parent.mkdir(parents=True, exist_ok=True)
    work = _Work(out, state)
    with work:
        if strict and state.skipped:
            reason = f"{state.skipped[0].reason} (strict; nothing is skipped)"
            raise UnreadableImage("skipped-before", reason)
        try:
            _embed(encoder, source, work, batch_size, strict, on_done)
            _report_skipped(out, state)
            if state.rows == 0:
                raise UnreadableImage(
                    "nothing-readable",
                    f"none of the {count} images of {source.label} could be read; the first: "
                    f"{state.skipped[0].reason}",
                )
            ids = _finish(writer, source, work)
        except BaseException:  # Ctrl-C too
            work.keep()
            raise
        work.note.unlink(missing_ok=True)  # a short run wrote none
    work.path.unlink()  # only now: some systems do not remove an open file
    return Embedded(out, state.rows, encoder.dim, encoder.name, ids, tuple(state.skipped))


def _embed(
    encoder: Encoder,
    source: Source,
    work: _Work,
    batch_size: int,
    strict: bool,
    on_done: OnDone | None,
) -> None:
    """Batch after batch to the work file, from where the state says."""
    state = work.state
    first = state.done
    left = islice(source.inputs(), first, None)
    names = islice(source.items(), first, None)
    skipped: list[tuple[int, Exception]] = []
    say = on_done or (lambda done: None)
    if first:
        say(first)
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
        work.file.write(np.ascontiguousarray(rows, dtype="<f4").tobytes())
        for index, error in skipped:
            name = batch[first + index - state.done]
            state.skipped.append(Skipped(first + index, _utf8(name), _utf8(str(error))))
        skipped.clear()
        state.done += len(batch)
        state.rows += len(rows)
        if perf_counter() - written > STATE_SECONDS:
            work.keep()
            written = perf_counter()
        say(state.done)
    work.file.flush()


class _Work:
    """The work file and its state, for one run alone where the system has advisory locks."""

    file: BinaryIO

    def __init__(self, out: Path, state: _State) -> None:
        self.state = state
        self.path, self.note = _named(out, ".partial"), _named(out, ".partial.json")

    def __enter__(self) -> _Work:
        self.file = open(self.path, "a+b")
        try:
            self._lock()
            self._resume()
        except BaseException:
            self.file.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()

    def keep(self) -> None:
        """Rows to the disk, and only then the state that counts them."""
        self.file.flush()
        os.fsync(self.file.fileno())
        write_json(self.note, asdict(self.state))

    def _lock(self) -> None:
        try:
            from fcntl import LOCK_EX, LOCK_NB, flock
        except ImportError:
            return
        try:
            flock(self.file, LOCK_EX | LOCK_NB)
        except OSError:
            raise FileError(
                "file-in-use", f"{self.path} is in use by another run; wait for it to end"
            ) from None

    def _resume(self) -> None:
        """Fill the state from an earlier run and cut the work file to what it counts."""
        state = self.state
        if self.note.exists():
            old = _read_state(self.note)
            for name, what in MUST_MATCH.items():
                have, want = getattr(old, name), getattr(state, name)
                if have != want:
                    said = f": {have} there, {want} now" if name != "digest" else ""
                    raise FileError(
                        "another-run",
                        f"{self.note} is of an unfinished run with another {what}{said}; finish "
                        f"that run, delete {self.note} and {self.path.name} to start over, or "
                        "write to another file",
                    )
            state.done, state.rows, state.skipped = old.done, old.rows, old.skipped
        size = state.rows * state.dim * 4
        have = self.file.seek(0, os.SEEK_END)
        if have < size:
            raise CorruptFile(
                "cut-short",
                f"{self.path} holds {have} of {size} bytes; delete it and {self.note.name}",
            )
        self.file.truncate(size)
        self.file.seek(size)


def _read_state(note: Path) -> _State:
    try:
        data = json.loads(note.read_text(encoding="utf-8"))
        data["skipped"] = [Skipped(**item) for item in data["skipped"]]
        return _State(**data)
    except (ValueError, KeyError, TypeError) as error:
        raise CorruptFile(
            "damaged-file",
            f"{note} is not the state of an unfinished run ({error}); delete it to start over",
        ) from None


def _finish(writer: RowWriter, source: Source, work: _Work) -> Path | None:
    """The work file -> the file asked for, with the identities of its rows."""
    gone = {item.index for item in work.state.skipped}

    def kept() -> Iterator[str]:
        return (_utf8(item) for index, item in enumerate(source.items()) if index not in gone)

    out, dim = Path(writer.path), work.state.dim
    parquet = out.suffix.lower() == ".parquet"
    ids = None if parquet else _named(out, ".ids.json")
    if ids is not None:
        _write_list(ids, kept())
    identities = batched(kept(), CHUNK)
    with open(work.path, "rb") as rows_file, writer:
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
    path = _named(out, ".skipped.json")
    if state.skipped:
        write_json(path, [asdict(item) for item in state.skipped])
    else:
        path.unlink(missing_ok=True)


def _utf8(text: str) -> str:
    """File names that are not UTF-8 have no form in JSON or Parquet: show their bytes."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _named(out: Path, suffix: str) -> Path:
    return out.with_name(out.name + suffix)
