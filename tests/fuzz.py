"""Mutated inputs, read by us and by the library that the format belongs to.

    python tests/fuzz.py --seconds 600 [--target npz] [--seed 0] [--keep FOLDER]
    python tests/fuzz.py --inputs 1000

What the library refuses must be refused, what it reads must read equal, or be refused with a code
of :data:`STRICTER`. Anything but one sentence, and anything that takes over :data:`PATIENCE`
seconds, is a fault; its input is kept. Counts are printed as JSON. ``tests/corpus`` holds inputs
that were faults once, and others that are worth keeping; ``test_fuzz.py`` reads them, and some
hundred mutated ones.
"""

from __future__ import annotations

import argparse
import csv
import io
import itertools
import json
import re
import signal
import struct
import sys
import tempfile
import time
import traceback
import warnings
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import safetensors.numpy

from io_helpers import FORMS, rows, save_any, save_parquet
from isthmus.closers.closer import Closer
from isthmus.data import open_rows, read_labels, read_relevance
from isthmus.data.journal import Journal
from isthmus.data.judgement_files import read_judgements
from isthmus.data.judgements import Judgements
from isthmus.deploy.thresholds import Calibration
from isthmus.encoders.base import Encoder
from isthmus.encoders.embedding import embed
from isthmus.errors import IsthmusError
from saved_records import put_together, records, taken_apart

PATIENCE = 20
"""Seconds for one input."""
CORPUS = Path(__file__).with_name("corpus")
LAYOUT = {"longer-than-promised", "not-floats", "wrong-axes", "no-columns", "cut-short"}
LINES = {"bad-line", "no-numbers", "beyond-int64", "not-utf8"}
STRICTER = {
    "npy": LAYOUT | {"damaged-file"},  # NumPy 1.26 reads lengths below 0
    "npz": LAYOUT,
    "safetensors": {"damaged-file", "not-floats", "wrong-axes", "no-columns", "unknown-key"},
    "parquet": {
        "wrong-kind",
        "not-floats",
        "null-value",
        "unequal-dimensions",
        "duplicate-column",
        "cut-short",
    },
    "raw": {"wrong-kind", "not-floats", "null-value", "unequal-dimensions", "cut-short"},
    "arrow": {"damaged-file", "null-value", "unequal-dimensions", "no-columns"},
    "qrels": {"bad-line", "no-numbers", "no-relevance", "ambiguous-column"},
    "labels": LINES,
    "relevance": LINES,
}
"""By target, the codes with which we refuse what the library reads."""
WORDS = (b"0", b"1", b"-1", b"7", b"2147483648", b"18446744073709551616", b"1e400", b"NaN", b"1_0")
"""Put in the place of a number in text."""


@dataclass(frozen=True)
class Target:
    """Sound files, how a file is changed, and the two ways to read it."""

    suffix: str
    sound: Callable[[Path], list[bytes]]
    ours: Callable[[Path], Any]
    theirs: Callable[[Path], Any]
    change: Callable[[bytes, np.random.Generator], bytes]


class Slow(Exception):
    """An input took too long."""


# ---------------------------------------------------------------- changes


def changed(content: bytes, rng: np.random.Generator) -> bytes:
    """One to three changes anywhere, half of them near the start or the end."""
    for _ in range(int(rng.choice([1, 1, 1, 2, 3]))):
        content = CHANGES[int(rng.integers(len(CHANGES)))](content, rng)
    return content


def _place(content: bytes, rng: np.random.Generator) -> int:
    near = min(200, len(content))
    start = int(rng.choice([0, 0, 0, len(content) - near]))
    return (
        start + int(rng.integers(0, max(near, 1)))
        if rng.random() < 0.5
        else int(rng.integers(0, len(content) + 1))
    )


def _bits(content: bytes, rng: np.random.Generator) -> bytes:
    changed = bytearray(content)
    for _ in range(int(rng.integers(1, 5)) if content else 0):
        changed[min(_place(content, rng), len(changed) - 1)] ^= 1 << int(rng.integers(8))
    return bytes(changed)


def _over(content: bytes, rng: np.random.Generator) -> bytes:
    at, size = _place(content, rng), int(rng.choice([1, 2, 4, 8]))
    new = bytes([int(rng.choice([0, 1, 127, 128, 255]))]) * size
    return content[:at] + new + content[at + size :]


def _cut(content: bytes, rng: np.random.Generator) -> bytes:
    at = _place(content, rng)
    return content[:at] + content[at + int(rng.integers(1, 40)) :]


def _grow(content: bytes, rng: np.random.Generator) -> bytes:
    at, size = _place(content, rng), int(rng.integers(1, 40))
    new = rng.bytes(size) if rng.random() < 0.5 else content[at : at + size]
    return content[:at] + new + content[at:]


def _swap(content: bytes, rng: np.random.Generator) -> bytes:
    a, b = sorted((_place(content, rng), _place(content, rng)))
    return (
        content[:a]
        + content[b : b + 16]
        + content[a + 16 : b]
        + content[a : a + 16]
        + content[b + 16 :]
    )


def _end(content: bytes, rng: np.random.Generator) -> bytes:
    return content[: _place(content, rng)] if rng.random() < 0.5 else content + rng.bytes(3)


def _number(content: bytes, rng: np.random.Generator) -> bytes:
    found = list(itertools.islice(re.finditer(rb"-?[0-9]+", content), 200))
    if not found:
        return content
    one = found[int(rng.integers(len(found)))]
    return content[: one.start()] + WORDS[int(rng.integers(len(WORDS)))] + content[one.end() :]


def _text(content: bytes, rng: np.random.Generator) -> bytes:
    """One quoted word takes the place of another, or a sign of JSON is left out."""
    found = list(itertools.islice(re.finditer(rb"['\"][\w. ]{1,30}['\"]|[\[\]{},:]", content), 200))
    if not found:
        return content
    one, other = (found[int(i)] for i in rng.integers(len(found), size=2))
    return content[: one.start()] + (other[0] if rng.random() < 0.7 else b"") + content[one.end() :]


CHANGES = (_bits, _over, _cut, _grow, _swap, _end, _number, _text)


def inside_zip(content: bytes, rng: np.random.Generator) -> bytes:
    """The archive changed, or one member changed and packed again with its checksum right."""
    if rng.random() < 0.5:
        return changed(content, rng)
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(out, "w") as new:
        picked = old.namelist()[int(rng.integers(len(old.namelist())))]
        for info in old.infolist():
            member = old.read(info)
            new.writestr(info, changed(member, rng) if info.filename == picked else member)
    return out.getvalue()


def inside_header(content: bytes, rng: np.random.Generator) -> bytes:
    """The file changed, or its header alone, whose length is then right."""
    if rng.random() < 0.5:
        return changed(content, rng)
    length = int.from_bytes(content[:8], "little")
    header = changed(content[8 : 8 + length], rng)
    return struct.pack("<Q", len(header)) + header + content[8 + length :]


# ---------------------------------------------------------------- targets


def of_forms(start: str, key: str = "vec") -> Callable[[Path], list[bytes]]:
    """Sound files of rows in each form of a format, and number formats."""

    def sound(folder: Path) -> list[bytes]:
        found = []
        for form in FORMS:
            for dtype in ("float16", "float32", "float64"):
                if form.startswith(start) and (start != "npy" or not form.startswith("npz")):
                    spec = save_any(folder, form, rows(13, 5, dtype))
                    found.append(Path(spec.removesuffix(f":{key}")).read_bytes())
        return found

    return sound


def ours_of(key: str = "") -> Callable[[Path], np.ndarray]:
    """All rows in blocks, which picked rows must equal."""

    def read(path: Path) -> np.ndarray:
        source = open_rows(f"{path}{key}")
        blocks = [block.copy() for block in source.blocks(7)]
        found = np.concatenate(blocks) if blocks else source.read()
        picked = np.arange(0, source.rows, 3)
        if not np.array_equal(source.take(picked), found[picked], equal_nan=True):
            raise AssertionError("take and blocks differ")
        return found

    return read


def their_npy(path: Path) -> np.ndarray:
    return np.load(path, allow_pickle=False)


def their_npz(path: Path) -> np.ndarray:
    with np.load(path, allow_pickle=False) as archive:
        found = archive["vec"]
    if not isinstance(found, np.ndarray):  # NumPy hands out what is no array as bytes
        raise ValueError("no array")
    return found


def their_tensor(path: Path) -> np.ndarray:
    return safetensors.numpy.load_file(path)["vec"]


def their_lists(path: Path) -> np.ndarray:
    column = pq.read_table(path, columns=["vec"], use_threads=False).column("vec")
    return np.array(column.to_pylist(), column.type.value_type.to_pandas_dtype())


def sound_parquet(folder: Path) -> list[bytes]:
    found = of_forms("parquet")(folder)
    for codec in ("none", "zstd", "gzip"):
        table = pa.table({"vec": rows(40, 4).tolist(), "id": range(40)})
        pq.write_table(table, folder / "c.parquet", compression=codec, row_group_size=16)
        found.append((folder / "c.parquet").read_bytes())
    save_parquet(folder / "g.parquet", rows(30, 3), group=7)
    return [*found, (folder / "g.parquet").read_bytes()]


def sound_raw(folder: Path) -> list[bytes]:
    """Parquet of raw float32 bytes, of varying and fixed length, and of tensors."""
    flat = rows(30, 4)
    raw = [row.tobytes() for row in flat]
    lists = pa.FixedSizeListArray.from_arrays(pa.array(flat.reshape(-1)), 4)
    shape = pa.fixed_shape_tensor(pa.float32(), (2, 2))
    found = []
    for column in (
        pa.array(raw),
        pa.array(raw, pa.binary(16)),
        pa.ExtensionArray.from_storage(shape, lists),
    ):
        pq.write_table(pa.table({"vec": column}), folder / "r.parquet", row_group_size=11)
        found.append((folder / "r.parquet").read_bytes())
    return found


def their_raw(path: Path) -> np.ndarray:
    column = pq.read_table(path, columns=["vec"], use_threads=False).column("vec")
    cells = [getattr(cell, "value", cell) for chunk in column.chunks for cell in chunk]
    values = [cell.as_py() for cell in cells]
    if any(isinstance(value, bytes) for value in values):
        return np.stack([np.frombuffer(value, "<f4") for value in values])
    kind = getattr(column.type, "storage_type", column.type).value_type
    return np.array(values, kind.to_pandas_dtype())


def sound_table(folder: Path) -> list[bytes]:
    """Arrow files and streams of lists."""
    flat = rows(30, 4)
    found = []
    for type_ in (pa.list_(pa.float32(), 4), pa.list_(pa.float32())):
        table = pa.table({"vec": pa.array(flat.tolist(), type_), "id": range(30)})
        for make in (pa.ipc.new_file, pa.ipc.new_stream):
            with make(str(folder / "t.arrow"), table.schema) as out:
                out.write_table(table, max_chunksize=11)
            found.append((folder / "t.arrow").read_bytes())
    return found


def their_table(path: Path) -> np.ndarray:
    content = path.read_bytes()
    opened = pa.ipc.open_file if content[:6] == b"ARROW1" else pa.ipc.open_stream
    table = opened(pa.py_buffer(content)).read_all()
    table.validate(full=True)
    column = table.column("vec")
    found = np.array(column.to_pylist(), column.type.value_type.to_pandas_dtype())
    return found if len(column) else found.reshape(0, getattr(column.type, "list_size", 0))


def sound_qrels(folder: Path) -> list[bytes]:
    """Judgements as TREC has them."""
    lines = [(f"q{i // 3}", 0, f"d{(7 * i) % 11}", i % 4) for i in range(12)]
    return [
        (head + end.join(sign.join(map(str, line)) for line in lines)).encode()
        for head, end, sign in (
            ("", "\n", " "),
            ("topic iteration document relevance\n", "\r\n", "  "),
            ("\ufeff", "\n\n", " "),
        )
    ]


def our_qrels(path: Path) -> np.ndarray:
    found = read_judgements(path)
    assert isinstance(found, Judgements)
    assert found.grades is not None
    whole = zip(found.queries, found.candidates, found.grades.tolist(), strict=True)
    return np.array([(q, c, str(grade)) for q, c, grade in whole], "U300")


def their_qrels(path: Path) -> np.ndarray:
    """The same by splitting lines."""
    lines = [x.split() for x in path.read_text(encoding="utf-8-sig").split("\n") if x.strip()]
    with suppress(ValueError):
        float(lines[0][-1])
        lines = [["header"], *lines]
    found = [(q, c, float(grade)) for q, _, c, grade in lines[1:]]
    if not np.isfinite([grade for _, _, grade in found]).all():
        raise ValueError("no number")
    return np.array([(q, c, str(grade)) for q, c, grade in found], "U300")


def sound_lines(width: int) -> Callable[[Path], list[bytes]]:
    """Labels or relevance in text, with headers, quotes and line ends of every kind."""

    def sound(folder: Path) -> list[bytes]:
        numbers = [[i, (7 * i) % 5][-width:] for i in range(12)]
        return [
            (head + end.join(sign.join(map(str, line)) for line in numbers)).encode()
            for head, end, sign in (
                ("", "\n", ","),
                ("query,candidate\n"[-10 if width == 1 else 0 :], "\r\n", ","),
                ("\ufeff", "\n", ", "),
                ("", "\n\n", ","),
            )
        ]

    return sound


def their_lines(width: int) -> Callable[[Path], np.ndarray]:
    """The same through the csv module of the standard library."""

    def read(path: Path) -> np.ndarray:
        text = path.read_text(encoding="utf-8-sig")
        if width == 2:  # white space parts two numbers as well
            text = re.sub(r"(?<=[^\s,;])[^\S\n]+(?=[^\s,;])", ",", text)
        lines = csv.reader(re.sub(r"[;\t]", ",", text).split("\n"), skipinitialspace=True)
        some = [
            [cell.strip().strip("'") for cell in line]
            for line in lines
            if any(map(str.strip, line))
        ]
        try:
            found = [[int(cell) for cell in line] for line in some]
        except ValueError:
            found = [[int(cell) for cell in line] for line in some[1:]]  # after a header
        return np.array(found, np.int64).reshape((-1, 2) if width == 2 else (len(found),))

    return read


STEPS = [({"at": i, "name": f"step {i}"}, bytes(range(i, i + 9))) for i in range(12)]
ASKED = {"inputs": ["a", "b"], "seed": 3}


def sound_journal(folder: Path) -> list[bytes]:
    """The journal of an unfinished run."""
    with Journal(folder / "sound", ASKED) as journal:
        for about, data in STEPS:
            journal.append(about, data)
    return [(folder / "sound.journal").read_bytes()]


def steps_are_ours(path: Path) -> np.ndarray:
    """Whether a run that was asked the same would go on from what the run wrote, or from less."""
    with Journal(path.with_suffix(""), ASKED) as journal:
        found = [] if journal.others() else list(journal.steps())
    return np.array(found == STEPS[: len(found)])


class Short(Encoder):
    """Rows that are the colour of a picture; killed after so many batches."""

    name, dim = "short", 3

    def __init__(self, batches: int = 99) -> None:
        self.left = batches

    def _embed_images(self, batch: list[Any]) -> np.ndarray:
        self.left -= 1
        if self.left < 0:
            raise KeyboardInterrupt
        return np.array([image.getpixel((0, 0)) for image in batch], np.float32)


def embedded(out: Path, encoder: Short) -> np.ndarray:
    """Rows of the pictures beside ``out``, which a run that was killed may have begun."""
    listed = [str(out.parent / f"{number}.png") for number in range(10)]
    embed(encoder, images=listed, out=out, batch_size=2)
    return np.asarray(open_rows(out).read())


def sound_state(folder: Path) -> list[bytes]:
    """What unfinished runs of ``embed`` leave after one, two and four batches."""
    from PIL import Image

    for number in range(10):
        Image.new("RGB", (2, 2), (number, 0, 7)).save(folder / f"{number}.png")
    found = []
    for batches in (1, 2, 4):
        with suppress(KeyboardInterrupt):
            embedded(folder / "sound.npy", Short(batches))
        journal = folder / "sound.npy.journal"
        found.append(journal.read_bytes())
        journal.unlink()
    return found


def state_is_ours(path: Path) -> np.ndarray:
    """Rows of a run that goes on from the state; nothing that it leaves meets the next input."""
    out = path.with_suffix("")
    try:
        return embedded(out, Short())
    finally:
        for left in out.parent.glob(f"{out.name}*"):
            left.unlink()


def state_is_theirs(path: Path) -> np.ndarray:
    """What one run writes."""
    return np.array([[number, 0, 7] for number in range(10)], np.float32)


def record_target(name: str) -> Target:
    """A record's file: what is loaded holds the arrays that the library reads, and can be saved."""
    record, suffix = records()[name]
    kind = type(record)

    def sound(folder: Path) -> list[bytes]:
        return [record.save(folder / f"sound{suffix}").read_bytes()]

    def ours(path: Path) -> Any:
        loaded = kind.load(path)
        with tempfile.TemporaryDirectory() as folder:
            again = kind.load(loaded.save(Path(folder, f"again{suffix}")))
        assert all(np.isfinite(array).all() for array in again._parts()[1].values())
        loaded.to_dict(), loaded.card()
        if isinstance(loaded, Closer):
            assert np.isfinite(loaded.candidates(np.ones((3, loaded.candidate.dim))).rows).all()
        if isinstance(loaded, Calibration):
            loaded.decide(np.linspace(-1, 1, 9)), loaded.is_match([0.5])
        return loaded._parts()[1] if suffix != ".json" else None

    def theirs(path: Path) -> Any:
        arrays, _ = taken_apart(path)
        return arrays if suffix != ".json" else None

    def change(content: bytes, rng: np.random.Generator) -> bytes:
        if rng.random() < 0.3:
            return inside_header(content, rng) if suffix != ".json" else changed(content, rng)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, f"x{suffix}")
            path.write_bytes(content)
            put_together(path, *another(*taken_apart(path), rng))
            return path.read_bytes()

    return Target(suffix, sound, ours, theirs, change)


ODD: tuple[Any, ...] = (None, True, -1, 0, 2, 1e300, 10**400, "", "x", "dot", [], {}, [[1.0]], "1")
"""Put in the place of a value of a record."""


def another(
    arrays: dict[str, np.ndarray], fields: dict[str, Any], rng: np.random.Generator
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """A record's parts with one of them changed: a sound file with unsound content."""
    if arrays and rng.random() < 0.5:
        key = sorted(arrays)[int(rng.integers(len(arrays)))]
        array, kind = arrays[key], int(rng.integers(6))
        if kind == 0:
            return {k: v for k, v in arrays.items() if k != key}, fields
        bad = array.copy()
        if bad.size and kind < 3 and bad.dtype.kind == "f":
            bad.flat[int(rng.integers(bad.size))] = rng.choice([np.nan, np.inf, 1e38])
        new = (bad, bad, bad, array[..., :-1], array[None], array.astype("i4"))[kind]
        return arrays | {key: new if array.ndim else bad}, fields
    other = _other_value(fields, rng)
    return arrays, other if isinstance(other, dict) else fields


def _other_value(value: Any, rng: np.random.Generator) -> Any:
    """The same JSON with one value replaced, left out or said under another name."""
    deeper = isinstance(value, (dict, list)) and value and rng.random() < 0.85
    if not deeper:
        return ODD[int(rng.integers(len(ODD)))]
    if isinstance(value, list):
        at = int(rng.integers(len(value)))
        less = [] if rng.random() < 0.2 else [_other_value(value[at], rng)]
        return [*value[:at], *less, *value[at + 1 :]]
    key = list(value)[int(rng.integers(len(value)))]
    if rng.random() < 0.15:
        return {k: v for k, v in value.items() if k != key}
    return value | {key: _other_value(value[key], rng)}


TARGETS: dict[str, Target] = {
    "npy": Target(".npy", of_forms("npy"), ours_of(), their_npy, changed),
    "npz": Target(".npz", of_forms("npz"), ours_of(":vec"), their_npz, inside_zip),
    "safetensors": Target(
        ".safetensors", of_forms("safetensors"), ours_of(":vec"), their_tensor, inside_header
    ),
    "parquet": Target(".parquet", sound_parquet, ours_of(":vec"), their_lists, changed),
    "raw": Target(".parquet", sound_raw, ours_of(":vec"), their_raw, changed),
    "arrow": Target(".arrow", sound_table, ours_of(":vec"), their_table, changed),
    "qrels": Target(".txt", sound_qrels, our_qrels, their_qrels, changed),
    "labels": Target(".csv", sound_lines(1), read_labels, their_lines(1), changed),
    "relevance": Target(".csv", sound_lines(2), read_relevance, their_lines(2), changed),
    "journal": Target(
        ".journal", sound_journal, steps_are_ours, lambda path: np.array(True), changed
    ),
    "embed": Target(".npy.journal", sound_state, state_is_ours, state_is_theirs, changed),
    **{name: record_target(name) for name in records()},
}


# ---------------------------------------------------------------- judging


@contextmanager
def patience(seconds: int) -> Iterator[None]:
    """Raise :class:`Slow` in the body after so many seconds."""

    def stop(*_: Any) -> None:
        raise Slow

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def judged(name: str, path: Path) -> str:
    """``equal``, ``refused``, ``stricter: CODE`` or ``fault: …`` for one input."""
    target = TARGETS[name]
    code, found = "", None
    try:
        with patience(PATIENCE), warnings.catch_warnings():
            warnings.simplefilter("error")
            found = target.ours(path)
    except IsthmusError as refusal:
        code = refusal.code
        if "\n" in str(refusal):
            return f"fault: more than a sentence, {refusal}"
    except Slow:
        return "fault: slow"
    except BaseException:
        return "fault: " + traceback.format_exc(limit=-3)
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"), patience(PATIENCE):
            warnings.simplefilter("ignore")
            expected = target.theirs(path)
    except BaseException as refusal:
        what = f"{type(refusal).__name__}: {refusal}"
        return "refused" if code else f"fault: we read what the library refuses ({what})"
    if code:
        known = STRICTER.get(name)
        return f"stricter: {code}" if known is None or code in known else f"fault: refused, {code}"
    return "equal" if _same(found, expected) else "fault: read, and not equal"


def _same(found: Any, expected: Any) -> bool:
    if isinstance(found, dict):
        return set(found) == set(expected) and all(  # numbers of records are made float64
            np.array_equal(found[name], expected[name]) for name in found
        )
    if found is None:
        return True
    if found.shape != expected.shape or found.dtype != expected.dtype.newbyteorder("="):
        return False
    return np.array_equal(found, expected, equal_nan=found.dtype.kind == "f")


def run(
    name: str, inputs: Iterator[int], seed: int, folder: Path, keep: Path | None = None
) -> tuple[Counter[str], list[str]]:
    """Judge mutated inputs of one target: counts by kind, and faults, whose files are kept."""
    target = TARGETS[name]
    sound = target.sound(folder)
    path = folder / f"case{target.suffix}"
    counts: Counter[str] = Counter()
    faults = []
    for number in inputs:
        rng = np.random.default_rng([seed, number])
        content = target.change(sound[number % len(sound)], rng)
        path.write_bytes(content)
        said = judged(name, path)
        counts[said.partition(":")[0] if said.startswith("fault") else said] += 1
        if said.startswith("fault"):
            faults.append(f"{name}, seed {seed}, input {number}: {said}")
            if keep:
                keep.mkdir(parents=True, exist_ok=True)
                (keep / f"{name.replace(' ', '-')}-{seed}-{number}{target.suffix}").write_bytes(
                    content
                )
    return counts, faults


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--seconds", type=float, help="about so long, shared by the targets")
    parser.add_argument("--inputs", type=int, help="so many per target instead")
    parser.add_argument("--target", choices=sorted(TARGETS), help="this one alone")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, default=Path("faults"), help="folder for faults")
    given = parser.parse_args()
    names = [given.target] if given.target else list(TARGETS)
    share = None if given.inputs else (given.seconds or 60) / len(names)
    result: dict[str, Any] = {}
    every: list[str] = []
    for name in names:
        ends = time.monotonic() + (share or 0)
        numbers = range(given.inputs) if share is None else itertools.count()
        some = itertools.takewhile(lambda _, e=ends: share is None or time.monotonic() < e, numbers)
        with tempfile.TemporaryDirectory() as folder:
            counts, faults = run(name, iter(some), given.seed, Path(folder), given.keep)
        result[name] = {"inputs": sum(counts.values()), **dict(sorted(counts.items()))}
        every += faults
    total = sum(one["inputs"] for one in result.values())
    print(json.dumps({"inputs": total, "faults": len(every), "targets": result}, indent=1))
    for fault in every:
        print(fault, file=sys.stderr)
    return 1 if every else 0


if __name__ == "__main__":
    sys.exit(main())
