"""Embed a folder of images or a file of texts to a file of rows; a killed run goes on.

While it runs, ``OUT.journal`` (:mod:`isthmus.data.journal`) holds a step for each batch: its rows,
what they are of, and the inputs that have no row. It is removed once ``OUT`` is in place.
"""

from __future__ import annotations

import json
import os
from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from isthmus.data import RowWriter, atomic_path, write_json
from isthmus.data.atomic import together, written
from isthmus.data.journal import Journal
from isthmus.data.overwriting import refuse_foreign
from isthmus.data.records import Record
from isthmus.data.source import exact_blocks
from isthmus.data.writer import holds_columns
from isthmus.encoders.base import Encoder, OnDone
from isthmus.encoders.images import UnreadableImage
from isthmus.encoders.inputs import Fingerprint, Source
from isthmus.errors import FileError

STATE_SECONDS = 0.5
"""So much work a killed process may have to do again; one that fails or is interrupted, none."""

CHUNK = 4096
"""Rows at a time when the journal is turned into the file asked for."""


OUR_LIST = b'[\n  {\n    "index":'
"""How a list of skipped inputs begins, which a run may leave without a row."""


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
    :class:`~isthmus.errors.FileError` when the journal is of another encoder or list, or in
    use, or when the list of inputs changes meanwhile;
    :class:`~isthmus.encoders.images.UnreadableImage` with ``strict``, and when nothing is readable.
    """
    out = Path(out)
    writer = RowWriter(out, encoder.dim, dtype="float32")  # refuses a bad name before the work
    listed = lists_of(out)
    for path in listed.values():
        refuse_foreign(path, out, "", OUR_LIST if path == listed["skipped"] else None)
    count, digest = source.fingerprint
    asked = {
        "encoder": encoder.name,
        "dim": encoder.dim,
        "kind": source.kind,
        "inputs": count,
        "digest": digest,
    }
    with Journal(out, asked, every=STATE_SECONDS) as journal:
        _refuse_others(journal, asked)
        done, skipped = 0, []
        for about, _ in journal.steps():
            done += len(about["ids"]) + len(about["skipped"])
            skipped += [Skipped(**item) for item in about["skipped"]]
        if strict and skipped:
            reason = f"{skipped[0].reason} (strict; nothing is skipped)"
            raise UnreadableImage("skipped-before", reason)
        for about in _embed(encoder, source, journal, done, batch_size, strict, on_done):
            skipped += about
        if len(skipped) == count:
            _write_skipped(listed["skipped"], skipped)
            raise UnreadableImage(
                "nothing-readable",
                f"none of the {count} images of {source.label} could be read; the first: "
                f"{skipped[0].reason}",
            )
        with together():
            ids = _finish(writer, listed.get("ids"), journal)
            _write_skipped(listed["skipped"], skipped)
        if not skipped:
            listed["skipped"].unlink(missing_ok=True)  # of an earlier run
        journal.remove()
    return Embedded(out, count - len(skipped), encoder.dim, encoder.name, ids, tuple(skipped))


def _refuse_others(journal: Journal, asked: dict[str, Any]) -> None:
    """An unfinished run of something else is not gone on with, and not thrown away either."""
    for name, have in journal.others().items():
        said = f": {have} there, {asked[name]} now" if name != "digest" else ""
        raise FileError(
            "another-run",
            f"{journal.path} is of an unfinished run with another {MUST_MATCH[name]}{said}; finish "
            "that run, delete this file to start over, or write to another file",
        )


def _embed(
    encoder: Encoder,
    source: Source,
    journal: Journal,
    first: int,
    batch_size: int,
    strict: bool,
    on_done: OnDone | None,
) -> Iterator[list[Skipped]]:
    """Batch after batch to the journal, from input ``first`` on; yields what has no row."""
    waiting: deque[str] = deque()
    seen = Fingerprint(source.kind)

    def inputs() -> Iterator[str]:
        for number, item in enumerate(source.items()):
            seen.add(item)
            if number >= first:
                waiting.append(item)
                yield source.ready(item)

    lost: dict[int, Exception] = {}
    if source.kind == "images":
        batches = encoder.iter_image_batches(
            inputs(),
            batch_size=batch_size,
            on_unreadable="raise" if strict else "skip",
            on_skip=lambda index, error: lost.update({first + index: error}),
        )
    else:
        batches = encoder.iter_text_batches(inputs(), batch_size=batch_size)
    say = on_done or (lambda done: None)
    done = first
    if first:
        say(first)
    for _, rows in batches:
        batch = [waiting.popleft() for _ in range(min(batch_size, len(waiting)))]
        named = list(enumerate(batch, done))
        skipped = [Skipped(i, written(n), written(str(lost[i]))) for i, n in named if i in lost]
        about = {
            "ids": [name for i, name in named if i not in lost],
            "skipped": [asdict(item) for item in skipped],
        }
        lost.clear()
        journal.append(about, np.ascontiguousarray(rows, dtype="<f4").tobytes())
        done += len(batch)
        yield skipped
        say(done)
    if seen.found != source.fingerprint:
        journal.remove()  # its rows and names are of two lists
        raise FileError(
            "inputs-changed",
            f"{source.label} changed while it was read ({source.fingerprint[0]} inputs when it was "
            f"counted, {seen.count} read); nothing is written: run again once it is complete",
        )


def lists_of(out: Path) -> dict[str, Path]:
    """The lists that go with a file of rows: inputs without a row, and identities of its rows."""
    endings = {"skipped": ".skipped.json"}
    if not holds_columns(out):
        endings["ids"] = ".ids.json"
    return {name: Path(f"{out}{ending}") for name, ending in endings.items()}


def _finish(writer: RowWriter, ids: Path | None, journal: Journal) -> Path | None:
    """The journal -> the file asked for, with the identities of its rows."""
    names: deque[str] = deque()
    encode = json.JSONEncoder(ensure_ascii=False).encode  # json.dumps would make one an entry

    def pieces() -> Iterator[np.ndarray]:
        for about, data in journal.steps():
            names.extend(about["ids"])
            yield np.frombuffer(data, dtype="<f4").reshape(-1, writer.dim)

    with ExitStack() as stack:
        stack.enter_context(writer)
        if ids is not None:
            listed = stack.enter_context(atomic_path(ids))
            file = stack.enter_context(open(listed, "w", encoding="utf-8", newline="\n"))
        for block in exact_blocks(pieces(), CHUNK):
            own = [names.popleft() for _ in block]
            if ids is None:
                writer.write(block, {"id": np.array(own, object)})
                continue
            file.writelines(
                ("[\n" if writer.written + i == 0 else ",\n") + encode(name)
                for i, name in enumerate(own)
            )
            writer.write(block)
        if ids is not None:
            file.write("\n]\n")
    return ids


def _write_skipped(path: Path, skipped: list[Skipped]) -> None:
    if skipped:
        write_json(path, [asdict(item) for item in skipped])
