"""Embed a folder of images or a file of texts to a file of rows; a killed run goes on.

While it runs, ``OUT.journal`` (:mod:`isthmus.data.journal`) holds a step for each batch: its rows,
what they are of, and the inputs that have no row. It is removed once ``OUT`` is in place.
"""

from __future__ import annotations

import json
import os
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass
from itertools import islice, zip_longest
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
        skipped: the inputs without a row. changed: images whose file was replaced after they had
            been embedded, before the run had ended; they were embedded again.
    """

    out: Path
    count: int
    dim: int
    encoder: str
    ids: Path | None = None
    skipped: tuple[Skipped, ...] = ()
    changed: tuple[str, ...] = ()

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
        done, skipped, changed = _held(encoder, source, journal, strict)
        if strict and skipped:
            reason = f"{skipped[0].reason} (strict; nothing is skipped)"
            raise UnreadableImage("skipped-before", reason)
        _embed(encoder, source, journal, done, batch_size, strict, on_done)
        _, skipped, meanwhile = _held(encoder, source, journal, strict)
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
    again = tuple(dict.fromkeys(changed + meanwhile))
    rows = count - len(skipped)
    return Embedded(out, rows, encoder.dim, encoder.name, ids, tuple(skipped), again)


def _refuse_others(journal: Journal, asked: dict[str, Any]) -> None:
    """An unfinished run of something else is not gone on with, and not thrown away either."""
    for name, have in journal.others().items():
        said = f": {have} there, {asked[name]} now" if name != "digest" else ""
        raise FileError(
            "another-run",
            f"{journal.path} is of an unfinished run with another {MUST_MATCH[name]}{said}; finish "
            "that run, delete this file to start over, or write to another file",
        )


def _held(
    encoder: Encoder, source: Source, journal: Journal, strict: bool
) -> tuple[int, list[Skipped], list[str]]:
    """What the journal holds: how many inputs, those without a row, and those that were replaced.

    A batch of which a file has another size or time than before it was read is embedded again.
    """
    items, done = source.items(), 0
    skipped: list[Skipped] = []
    changed: list[str] = []

    def again(about: Any) -> tuple[Any, bytes] | None:
        nonlocal done
        size = len(about["ids"]) + len(about["skipped"])
        batch, first, done, new = list(islice(items, size)), done, done + size, None
        stamps = [_stamp(source, item) for item in batch]
        if stamps != about.get("stamps", [None] * size):
            changed.extend(
                written(item)
                for item, old, now in zip_longest(batch, about.get("stamps", []), stamps)
                if old != now
            )
            (new,) = _steps(encoder, source, batch, first, size, strict)
        skipped.extend(Skipped(**item) for item in (new[0] if new else about)["skipped"])
        return new

    journal.rewrite(again)
    return done, skipped, changed


def _stamp(source: Source, item: str) -> list[int] | None:
    """Size and time of an image's file; None where there is none, and for texts."""
    if source.kind == "images":
        with suppress(OSError):
            found = os.stat(source.ready(item))
            return [found.st_size, found.st_mtime_ns]
    return None


def _embed(
    encoder: Encoder,
    source: Source,
    journal: Journal,
    done: int,
    batch_size: int,
    strict: bool,
    on_done: OnDone | None,
) -> None:
    """Batch after batch to the journal, from input ``done`` on."""
    seen = Fingerprint(source.kind)

    def rest() -> Iterator[str]:
        for number, item in enumerate(source.items()):
            seen.add(item)
            if number >= first:
                yield item

    first, say = done, on_done or (lambda done: None)
    if first:
        say(first)
    for about, data in _steps(encoder, source, rest(), first, batch_size, strict):
        journal.append(about, data)
        done += len(about["ids"]) + len(about["skipped"])
        say(done)
    if seen.found != source.fingerprint:
        journal.remove()  # its rows and names are of two lists
        raise FileError(
            "inputs-changed",
            f"{source.label} changed while it was read ({source.fingerprint[0]} inputs when it was "
            f"counted, {seen.count} read); nothing is written: run again once it is complete",
        )


def _steps(
    encoder: Encoder, source: Source, items: Iterable[str], done: int, batch_size: int, strict: bool
) -> Iterator[tuple[dict[str, Any], bytes]]:
    """What the journal keeps of each batch of the items, the first of which is input ``done``."""
    waiting: deque[tuple[str, list[int] | None]] = deque()
    first = done

    def inputs() -> Iterator[str]:
        for item in items:
            waiting.append((item, _stamp(source, item)))  # before it is opened
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
    for _, rows in batches:
        batch = [waiting.popleft() for _ in range(min(batch_size, len(waiting)))]
        named = [(i, name) for i, (name, _) in enumerate(batch, done)]
        skipped = [Skipped(i, written(n), written(str(lost[i]))) for i, n in named if i in lost]
        about = {
            "ids": [name for i, name in named if i not in lost],
            "skipped": [asdict(item) for item in skipped],
        }
        if source.kind == "images":
            about["stamps"] = [stamp for _, stamp in batch]
        lost.clear()
        done += len(batch)
        yield about, np.ascontiguousarray(rows, dtype="<f4").tobytes()


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
