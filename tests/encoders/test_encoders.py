"""The encoder contract, image reading and embedding to a file, with tiny encoders of our own."""

from __future__ import annotations

import io
import json
import os
import sqlite3
import struct
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from isthmus.data import load_tensors, open_rows
from isthmus.encoders import ENCODERS, Encoder, EncoderEntry, load_encoder
from isthmus.encoders.batches import ahead
from isthmus.encoders.embedding import embed
from isthmus.encoders.images import SMALL_FILE, UnreadableImage, open_image
from isthmus.encoders.inputs import open_source
from refusals import refused


class Tiny(Encoder):
    """Rows that name their input: an image's corner colour and size, a text's length and bytes."""

    name = "tiny"
    dim = 4

    def __init__(self, fail_after: int | None = None) -> None:
        self.batches: list[int] = []
        self.fail_after = fail_after

    def _count(self, size: int) -> None:
        if self.fail_after is not None and len(self.batches) >= self.fail_after:
            raise KeyboardInterrupt
        self.batches.append(size)

    def _embed_images(self, batch: list[Any]) -> np.ndarray:
        self._count(len(batch))
        assert all(image.mode == "RGB" for image in batch)
        return np.array([[*image.getpixel((0, 0)), image.width] for image in batch], np.float64)

    def _embed_texts(self, batch: list[str]) -> np.ndarray:
        self._count(len(batch))
        return np.array([[len(t), len(t.encode()), sum(t.encode()), 1] for t in batch], np.float64)


def picture(index: int) -> Image.Image:
    return Image.new("RGB", (index % 7 + 1, 2), (index % 256, index // 256, 7))


def counted(count: int, taken: list[int]) -> Iterator[Image.Image]:
    """Pictures 0 … count - 1; ``taken`` notes the thread that takes each."""
    for index in range(count):
        taken.append(threading.get_ident())
        yield picture(index)


def skipping(encoder: Encoder, inputs: list[Any], size: int) -> tuple[list[Any], list[int]]:
    """The batches, and the places of what could not be read."""
    lost: list[int] = []
    options: dict[str, Any] = {"batch_size": size, "on_unreadable": "skip"}
    stream = encoder.iter_image_batches(inputs, **options, on_skip=lambda i, _: lost.append(i))
    return list(stream), lost


# -- the contract ------------------------------------------------------------------------------


@pytest.mark.parametrize("batch_size", [1, 3, 10, 64])
def test_rows_do_not_depend_on_the_batch_size(batch_size: int) -> None:
    rows = Tiny().encode_images([picture(i) for i in range(10)], batch_size=batch_size)
    assert rows.dtype == np.float32
    assert rows.shape == (10, 4)
    np.testing.assert_array_equal(rows[:, 0], np.arange(10))
    texts = ["a", "", "ü", "two words"] * 2
    rows = Tiny().encode_texts(iter(texts), batch_size=batch_size)
    np.testing.assert_array_equal(rows[:, 0], [len(t) for t in texts])


def test_an_endless_iterable_is_taken_batch_by_batch() -> None:
    taken: list[int] = []
    stream = Tiny().iter_image_batches(counted(10**9, taken), batch_size=5)
    indices, rows = next(stream)
    assert indices.tolist() == [0, 1, 2, 3, 4]
    assert rows.shape == (5, 4)
    next(stream)
    assert len(taken) <= 15  # two batches given out, one ahead
    assert set(taken) == {threading.get_ident()}  # the caller's iterator stays in its thread
    stream.close()


class Parallel(Tiny):
    """Tiny, called from several threads; notes who opens and who computes."""

    def __init__(self, threads: int) -> None:
        super().__init__()
        self.threads = threads
        self.opening = self.most_opening = 0
        self.computed_in: set[int] = set()
        self.together = threading.Barrier(threads)

    def _prepare_image(self, image: Image.Image) -> Image.Image:
        self.opening += 1
        self.most_opening = max(self.most_opening, self.opening)
        time.sleep(0.0005)  # lets another thread in, if it may come in
        self.opening -= 1
        return image

    def _embed_images(self, batch: list[Any]) -> np.ndarray:
        if len(self.computed_in) < self.threads:
            self.computed_in.add(threading.get_ident())
            self.together.wait(timeout=60)  # passed only when all of them compute at a time
        return super()._embed_images(batch)


@pytest.mark.parametrize("threads", [2, 3])
def test_batches_computed_side_by_side_come_in_order(threads: int) -> None:
    encoder = Parallel(threads)
    taken: list[int] = []
    stream = encoder.iter_image_batches(counted(40, taken), batch_size=3)
    indices, rows = next(stream)
    assert indices.tolist() == [0, 1, 2]
    np.testing.assert_array_equal(rows[:, 0], [0, 1, 2])
    assert len(taken) == 3 * (threads + 1)  # one given out, `threads` ahead
    rest = list(stream)
    np.testing.assert_array_equal(np.concatenate([i for i, _ in rest]), np.arange(3, 40))
    np.testing.assert_array_equal(np.concatenate([r for _, r in rest])[:, 0], np.arange(3, 40))
    assert set(taken) == {threading.get_ident()}
    assert len(encoder.computed_in) == threads
    assert threading.get_ident() not in encoder.computed_in
    assert encoder.most_opening == 1


def test_side_by_side_unreadable_images_and_faults_are_met_in_order(tmp_path: Path) -> None:
    (tmp_path / "no.png").write_bytes(b"not an image")
    encoder = Tiny()
    encoder.threads = 2
    inputs = [picture(0), tmp_path / "no.png", picture(2), tmp_path / "gone.png", picture(4)]
    batches, lost = skipping(encoder, inputs, 2)
    assert [indices.tolist() for indices, _ in batches] == [[0], [2], [4]]
    assert [rows[0, 0] for _, rows in batches] == [0, 2, 4]
    assert lost == [1, 3]
    encoder.batches.clear()
    stream = encoder.iter_image_batches(inputs, batch_size=1)
    assert next(stream)[0].tolist() == [0]
    with refused("wrong-kind", "no.png is not an image"):
        next(stream)
    wrong = Tiny()
    wrong.threads, wrong.dim = 2, 5
    with refused("wrong-rows", "gave rows of shape"):
        wrong.encode_images([picture(i) for i in range(9)], batch_size=2)
    failing = Tiny(fail_after=2)
    failing.threads = 2
    with pytest.raises(KeyboardInterrupt):
        failing.encode_images([picture(i) for i in range(9)], batch_size=2)


class Opening(Tiny):
    """Tiny, with several openers; notes who opens. The first two must meet."""

    def __init__(self, workers: int) -> None:
        super().__init__()
        self.workers = workers
        self.opened: list[int] = []
        self.together = threading.Barrier(2)

    def _prepare_image(self, image: Image.Image) -> Image.Image:
        self.opened.append(threading.get_ident())
        if image.getpixel((0, 0))[0] in (0, 4):  # the first of the two first pieces
            self.together.wait(timeout=60)
        return image


@pytest.mark.parametrize("workers", [2, 3, 8])
@pytest.mark.parametrize("threads", [1, 2])
def test_images_opened_side_by_side_come_in_order(workers: int, threads: int) -> None:
    encoder = Opening(workers)
    taken: list[int] = []
    encoder.threads = threads
    rows = encoder.encode_images(counted(40, taken), batch_size=11)
    np.testing.assert_array_equal(rows, Tiny().encode_images([picture(i) for i in range(40)]))
    assert set(taken) == {threading.get_ident()}
    assert len(encoder.opened) == 40
    assert threading.get_ident() not in encoder.opened
    assert not [t for t in threading.enumerate() if t.name.startswith("isthmus-")]


def test_workers_meet_unreadable_images_and_faults_in_order(tmp_path: Path) -> None:
    (tmp_path / "no.png").write_bytes(b"not an image")
    inputs: list[Any] = [picture(i) for i in range(30)]
    inputs[6], inputs[7], inputs[19] = tmp_path / "no.png", tmp_path / "gone.png", tmp_path
    encoder = Tiny()
    encoder.workers = 3
    batches, lost = skipping(encoder, inputs, 13)
    assert lost == [6, 7, 19]
    found = np.concatenate([indices for indices, _ in batches])
    np.testing.assert_array_equal(found, np.setdiff1d(np.arange(30), lost))
    np.testing.assert_array_equal(np.concatenate([r for _, r in batches])[:, 0], found)
    for _ in range(5):
        with refused("wrong-kind", "no.png is not an image"):
            encoder.encode_images(inputs, batch_size=30)

    class Faulty(Tiny):
        def _prepare_image(self, image: Image.Image) -> Image.Image:
            raise ZeroDivisionError(f"at {image.getpixel((0, 0))[0]}")

    faulty = Faulty()
    faulty.workers = 3
    with pytest.raises(ZeroDivisionError, match="at 0"):
        faulty.encode_images([picture(i) for i in range(20)], batch_size=20)


def test_a_loop_left_early_ends_its_openers() -> None:
    encoder = Tiny()
    encoder.workers = encoder.threads = 2
    stream = encoder.iter_image_batches((picture(i % 200) for i in range(10**6)), batch_size=8)
    assert next(stream)[0].tolist() == list(range(8))
    stream.close()
    assert not [t for t in threading.enumerate() if t.name.startswith("isthmus-")]


def test_a_loop_left_early_waits_for_its_threads() -> None:
    begun: list[int] = []
    gate = threading.Event()

    def work(item: int) -> int:
        begun.append(item)
        if item:
            gate.wait(timeout=60)
        return -item

    stream = ahead(work, range(100), threads=2)
    assert next(stream) == (0, 0)
    threading.Timer(0.05, gate.set).start()
    stream.close()
    assert set(begun) <= {0, 1, 2}
    assert not [t for t in threading.enumerate() if t.name.startswith("isthmus-images")]


def test_nothing_in_gives_no_rows_of_the_right_width() -> None:
    assert Tiny().encode_images([]).shape == (0, 4)
    assert Tiny().encode_texts([]).shape == (0, 4)


def test_progress_counts_the_inputs_done() -> None:
    heard: list[int] = []
    Tiny().encode_texts(["a"] * 7, batch_size=3, progress=heard.append)
    assert heard == [3, 6, 7]


def test_unreadable_images_raise_or_leave_no_row(tmp_path: Path) -> None:
    (tmp_path / "no.png").write_bytes(b"not an image")
    inputs = [picture(0), tmp_path / "no.png", picture(2), tmp_path / "gone.png"]
    with refused("wrong-kind", "no.png is not an image"):
        Tiny().encode_images(inputs)
    with pytest.warns(UserWarning, match="2 of 4 images could not be read"):
        rows = Tiny().encode_images(inputs, on_unreadable="skip", batch_size=3)
    np.testing.assert_array_equal(rows[:, 0], [0, 2])
    batches, lost = skipping(Tiny(), inputs, 3)
    assert [indices.tolist() for indices, _ in batches] == [[0, 2], []]
    assert batches[1][1].shape == (0, 4)
    assert lost == [1, 3]


SILENCE = np.zeros(8, np.float32)


@pytest.mark.parametrize(
    ("side", "given", "options", "code", "fact"),
    [
        ("texts", "one text", {}, "not-a-list", "wrap it"),
        ("images", Path("folder"), {}, "not-a-list", "wrap it"),
        ("texts", ["a", 2], {}, "wrong-type", "text 1 is of type int"),
        ("texts", ["a"], {"batch_size": 0}, "number-too-small", "at least 1"),
        ("images", [], {"on_unreadable": "ignore"}, "unknown-option", "raise, skip"),
        ("audio", [(SILENCE, 48000)], {}, "no-such-side", "no audio side"),
        ("audio", [(SILENCE.astype(np.int16), 48000)], {}, "not-floats", "expected floats"),
        ("audio", [(SILENCE.reshape(2, 4), 48000)], {}, "wrong-axes", "one channel"),
        ("audio", [(SILENCE, 0)], {}, "number-too-small", "sampling rate 0"),
    ],
)
def test_wrong_use_is_refused_with_one_sentence(
    side: str, given: Any, options: dict[str, Any], code: str, fact: str
) -> None:
    with refused(code, fact):
        getattr(Tiny(), f"encode_{side}")(given, **options)


def test_a_model_that_breaks_its_word_is_caught() -> None:
    class Short(Tiny):
        def _embed_texts(self, batch: list[str]) -> np.ndarray:
            return np.zeros((len(batch), 3))

    class NotFinite(Tiny):
        def _embed_texts(self, batch: list[str]) -> np.ndarray:
            return np.array([[np.nan if t == "bad" else 0.0] * 4 for t in batch])

    with refused("wrong-rows", "(2, 3) for 2 inputs, expected (2, 4)"):
        Short().encode_texts(["a", "b"])
    with refused("not-finite", "NaN or infinity for input 3"):
        NotFinite().encode_texts(["a", "b", "c", "bad"], batch_size=2)


def test_prepared_images_are_what_a_batch_holds() -> None:
    class Small(Tiny):
        def _prepare_image(self, image: Image.Image) -> Image.Image:
            return image.resize((1, 1))

        def _embed_images(self, batch: list[Any]) -> np.ndarray:
            assert {image.size for image in batch} == {(1, 1)}
            return super()._embed_images(batch)

    assert Small().encode_images([picture(i) for i in range(9)], batch_size=4).shape == (9, 4)


# -- the registry ------------------------------------------------------------------------------


def test_unknown_names_list_the_known() -> None:
    with refused("unknown-encoder", "'clap'", "open_clip"):
        load_encoder("clap:x")


def test_the_package_lists_its_encoders_and_takes_more(monkeypatch: pytest.MonkeyPatch) -> None:
    from isthmus import encoders

    names = ["emoji", "open_clip", "transformers", "sentence_transformers", "onnx"]
    assert list(encoders) == names
    assert all(f"``{name}" in str(encoders.__doc__) for name in names)
    assert encoders["onnx"].words.startswith("a folder with image.onnx")
    monkeypatch.setitem(ENCODERS._entries, "mine", EncoderEntry(f"{__name__}:Mine", "a test"))
    mine = load_encoder("mine:small", device="cuda:1")
    assert (mine.model, mine.device) == ("small", "cuda:1")
    assert load_encoder("mine").model is None


class Mine:
    def __init__(self, model: str | None, device: str = "") -> None:
        self.model, self.device = model, device


@pytest.mark.parametrize("name", ["open_clip", "transformers", "sentence_transformers", "onnx"])
def test_a_missing_library_names_its_extra(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    extra = {"onnx": "onnx"}.get(name, name.replace("_", "-"))
    for module in ("torch", "onnxruntime"):
        monkeypatch.setitem(sys.modules, module, None)
    with refused("missing-extra", f"isthmus[{extra}]"):
        load_encoder(f"{name}:somewhere")


def test_the_emoji_encoder_has_no_device() -> None:
    with refused("no-such-device", "on 'cpu' only"):
        load_encoder("emoji", device="cuda")


def test_importing_the_encoders_imports_no_library() -> None:
    code = (
        "import sys, isthmus\n"
        "before = set(sys.modules)\n"
        "import isthmus.encoders, isthmus.encoders.images, isthmus.encoders.rows_file\n"
        f"for module in {[entry.path.split(':')[0] for entry in ENCODERS.values()]!r}:\n"
        "    __import__(module)\n"
        "new = set(sys.modules) - before\n"
        "print([m for m in ('torch', 'transformers', 'open_clip', 'sentence_transformers',"
        " 'onnxruntime', 'PIL', 'tokenizers', 'scipy', 'pyarrow') if m in new])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# -- images ------------------------------------------------------------------------------------


def gradient(height: int = 8, width: int = 12) -> np.ndarray:
    """(h, w, 3) uint8, every pixel different."""
    values = np.arange(height * width * 3) * 255 // (height * width * 3 - 1)
    return values.reshape(height, width, 3).astype(np.uint8)


@pytest.mark.parametrize("as_path", [True, False])
def test_rgb_comes_back_exactly(tmp_path: Path, as_path: bool) -> None:
    Image.fromarray(gradient()).save(tmp_path / "a.png")
    item: Any = tmp_path / "a.png" if as_path else Image.open(tmp_path / "a.png")
    image = open_image(item)
    assert image.mode == "RGB"
    np.testing.assert_array_equal(np.asarray(image), gradient())


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_exif_orientation_is_applied(tmp_path: Path, orientation: int) -> None:
    pixels = gradient(4, 6)
    stored_from_upright = {  # how a camera that is held so stores the upright picture
        1: lambda a: a,
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.transpose(1, 0, 2),
        6: lambda a: np.rot90(a, 1),
        7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
        8: lambda a: np.rot90(a, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = Image.fromarray(np.ascontiguousarray(stored_from_upright(pixels)))
    stored.save(tmp_path / "a.png", exif=exif)
    np.testing.assert_array_equal(np.asarray(open_image(tmp_path / "a.png")), pixels)


def test_exif_and_xmp_orientations_of_small_and_large_files(tmp_path: Path) -> None:
    """Small PNG and JPEG files are read whole, large ones are not: both are turned."""
    rng = np.random.default_rng(0)
    exif = Image.Exif()
    exif[0x0112] = 3
    for side, suffix in ((8, "png"), (300, "png"), (8, "jpg"), (300, "jpg")):
        stored = Image.fromarray(rng.integers(0, 256, (side, side + 8, 3), dtype=np.uint8))
        path = tmp_path / f"{side}.{suffix}"
        stored.save(path, exif=exif, quality=95)
        assert (path.stat().st_size > SMALL_FILE) == (side == 300)
        plain = np.asarray(Image.open(path))
        np.testing.assert_array_equal(np.asarray(open_image(path)), plain[::-1, ::-1])
    data = (tmp_path / "8.png").read_bytes()
    at = data.index(b"eXIf") - 4
    size = 12 + struct.unpack(">I", data[at : at + 4])[0]
    chunk, rest = data[at : at + size], data[:at] + data[at + size :]
    (tmp_path / "late.png").write_bytes(rest[:-12] + chunk + rest[-12:])  # after the pixels
    upright = np.asarray(open_image(tmp_path / "8.png"))
    np.testing.assert_array_equal(np.asarray(open_image(tmp_path / "late.png")), upright)
    turned = Image.fromarray(upright)
    turned.getexif()[0x0112] = 3  # of an image in memory
    np.testing.assert_array_equal(np.asarray(open_image(turned)), upright[::-1, ::-1])


def test_an_animated_png_gives_its_first_frame(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("#f00", "#0f0", "#00f")]
    frames[0].save(tmp_path / "a.png", save_all=True, append_images=frames[1:])
    image = open_image(tmp_path / "a.png")
    np.testing.assert_array_equal(np.asarray(image.resize((2, 2)))[0, 0], [255, 0, 0])


def test_exif_that_cannot_be_parsed_does_not_refuse_the_image(tmp_path: Path) -> None:
    Image.fromarray(gradient()).save(tmp_path / "a.png", exif=b"Exif\x00\x00MM\x00*\xff\xff")
    np.testing.assert_array_equal(np.asarray(open_image(tmp_path / "a.png")), gradient())


def png(width: int, height: int, depth: int, colour: int, raw: bytes, *chunks: bytes) -> bytes:
    """A PNG written by hand, so that the expectation owes nothing to a library's writer."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    extra = b"".join(chunk(c[:4], c[4:]) for c in chunks)
    data = chunk(b"IDAT", zlib.compress(raw))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + extra + data + chunk(b"IEND", b"")


def test_16_bit_gray_is_scaled_not_clipped(tmp_path: Path) -> None:
    values = np.array([[0, 1, 128, 255, 256, 257], [4096, 32768, 40000, 65000, 65534, 65535]])
    rows = b"".join(b"\x00" + row.astype(">u2").tobytes() for row in values)
    (tmp_path / "a.png").write_bytes(png(6, 2, 16, 0, rows))
    got = np.asarray(open_image(tmp_path / "a.png"))
    expected = np.rint(values / 65535 * 255).astype(np.uint8)
    np.testing.assert_array_equal(got, np.repeat(expected[:, :, None], 3, axis=2))
    clear = b"tRNS" + struct.pack(">H", 4096)
    (tmp_path / "b.png").write_bytes(png(6, 2, 16, 0, rows, clear))
    expected[1, 0] = 255
    np.testing.assert_array_equal(np.asarray(open_image(tmp_path / "b.png"))[:, :, 0], expected)


def test_16_bit_rgb_is_scaled_within_one_step(tmp_path: Path) -> None:
    values = np.linspace(0, 65535, 24).astype(np.int64).reshape(2, 4, 3)
    rows = b"".join(b"\x00" + row.astype(">u2").tobytes() for row in values)
    (tmp_path / "a.png").write_bytes(png(4, 2, 16, 2, rows))
    got = np.asarray(open_image(tmp_path / "a.png")).astype(int)
    assert np.abs(got - values / 257).max() <= 1


@pytest.mark.parametrize("suffix", ["tif", "png"])
def test_deep_gray_files_of_the_library(tmp_path: Path, suffix: str) -> None:
    values = np.linspace(0, 65535, 60).astype(np.uint16).reshape(6, 10)
    Image.fromarray(values).save(tmp_path / f"a.{suffix}")
    got = np.asarray(open_image(tmp_path / f"a.{suffix}"))[:, :, 1]
    np.testing.assert_array_equal(got, np.rint(values / 257.0))


def test_float_images_are_scaled_by_their_range() -> None:
    unit = np.linspace(0, 1, 12, dtype=np.float32).reshape(3, 4)
    for values, expected in (
        (unit, unit * 255),
        (unit * 255, unit * 255),
        (unit * 2 - 1, unit * 255),
        (np.full_like(unit, 5e6), np.full_like(unit, 255)),
    ):
        got = np.asarray(open_image(Image.fromarray(values)))[:, :, 0]
        assert np.abs(got - expected).max() <= 0.5 + 1e-4
    with refused("damaged-file", "NaN or infinity"):
        open_image(Image.fromarray(np.full((2, 2), np.nan, np.float32)))


def test_cmyk_jpeg(tmp_path: Path) -> None:
    ink = np.zeros((16, 48, 4), np.uint8)
    ink[:, :16] = (255, 0, 0, 0)  # cyan
    ink[:, 16:32] = (0, 200, 200, 0)  # red, not full
    ink[:, 32:] = (0, 0, 0, 255)  # black
    Image.fromarray(ink, "CMYK").save(tmp_path / "a.jpg", quality=95)
    assert Image.open(tmp_path / "a.jpg").mode == "CMYK"
    got = np.asarray(open_image(tmp_path / "a.jpg")).astype(int)
    expected = (255 - ink[..., :3].astype(int)) * (255 - ink[..., 3:].astype(int)) / 255
    assert np.abs(got - expected)[:, [4, 24, 44]].max() <= 4


def test_alpha_is_composited_on_white(tmp_path: Path) -> None:
    rgba = np.dstack([gradient(), np.linspace(0, 255, 96).astype(np.uint8).reshape(8, 12)])
    Image.fromarray(rgba).save(tmp_path / "a.png")
    alpha = rgba[..., 3:] / 255
    expected = rgba[..., :3] * alpha + 255 * (1 - alpha)
    got = np.asarray(open_image(tmp_path / "a.png"))
    assert np.abs(got - expected).max() <= 1
    Image.fromarray(rgba[..., [0, 3]], "LA").save(tmp_path / "b.png")
    got = np.asarray(open_image(tmp_path / "b.png"))
    gray = rgba[..., :1] * alpha + 255 * (1 - alpha)
    assert np.abs(got - gray).max() <= 1


def test_palette_with_transparent_entries(tmp_path: Path) -> None:
    index = np.array([[0, 1], [2, 3]], np.uint8)
    image = Image.fromarray(index, "P")
    image.putpalette([10, 20, 30, 200, 0, 0, 0, 200, 0, 0, 0, 200])
    image.save(tmp_path / "a.png", transparency=bytes([255, 0, 128, 255]))
    got = np.asarray(open_image(tmp_path / "a.png")).astype(int)
    expected = [[[10, 20, 30], [255, 255, 255]], [[127, 227, 127], [0, 0, 200]]]
    assert np.abs(got - expected).max() <= 1
    image.save(tmp_path / "a.gif", transparency=1)
    got = np.asarray(open_image(tmp_path / "a.gif"))
    np.testing.assert_array_equal(got[0], [[10, 20, 30], [255, 255, 255]])


def test_other_modes(tmp_path: Path) -> None:
    gray = gradient()[:, :, 0]
    np.testing.assert_array_equal(
        np.asarray(open_image(Image.fromarray(gray))), np.repeat(gray[:, :, None], 3, axis=2)
    )
    bits = Image.fromarray(gray > 100)
    assert bits.mode == "1"
    assert set(np.unique(np.asarray(open_image(bits)))) == {0, 255}
    keyed = Image.fromarray(gradient())
    keyed.save(tmp_path / "a.png", transparency=tuple(int(v) for v in gradient()[0, 0]))
    got = np.asarray(open_image(tmp_path / "a.png"))
    np.testing.assert_array_equal(got[0, 0], [255, 255, 255])
    np.testing.assert_array_equal(got[1:], gradient()[1:])


def test_the_first_frame_of_an_animation(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("#f00", "#0f0")]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    np.testing.assert_array_equal(np.asarray(open_image(tmp_path / "a.gif"))[0, 0], [255, 0, 0])


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "gif", "tif"])
@pytest.mark.parametrize("keep", [0.9, 0.5, 0.1])
def test_truncated_files_are_refused(tmp_path: Path, suffix: str, keep: float) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / f"a.{suffix}")
    whole = (tmp_path / f"a.{suffix}").read_bytes()
    (tmp_path / f"a.{suffix}").write_bytes(whole[: int(len(whole) * keep)])
    with pytest.raises(UnreadableImage, match=f"a.{suffix}") as caught:
        open_image(tmp_path / f"a.{suffix}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("suffix", ["jpg", "png"])
@pytest.mark.parametrize("size", [40, 400])  # a file that is read in one go, and one that is not
def test_bytes_after_the_end_change_nothing(tmp_path: Path, suffix: str, size: int) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (size, size, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / f"a.{suffix}")
    whole = (tmp_path / f"a.{suffix}").read_bytes()
    assert (len(whole) > SMALL_FILE) == (size == 400)
    before = np.asarray(open_image(tmp_path / f"a.{suffix}"))
    with Image.open(tmp_path / f"a.{suffix}") as direct:
        np.testing.assert_array_equal(before, np.asarray(direct))
    (tmp_path / f"a.{suffix}").write_bytes(whole + b"more than the picture")
    np.testing.assert_array_equal(before, np.asarray(open_image(tmp_path / f"a.{suffix}")))


def test_a_small_file_with_a_broken_header_is_refused(tmp_path: Path) -> None:
    Image.fromarray(gradient()).save(tmp_path / "a.png")
    whole = (tmp_path / "a.png").read_bytes()
    for broken in (whole.replace(b"IHDR", b"IHDX"), whole[:8] + whole[-12:]):  # or none at all
        (tmp_path / "a.png").write_bytes(broken)
        with refused("wrong-kind", "a.png is not an image in a known format"):
            open_image(tmp_path / "a.png")


@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_a_read_that_stops_short_is_no_truncated_file(
    tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / f"a.{suffix}")
    expected = np.asarray(open_image(tmp_path / f"a.{suffix}"))
    real, short = os.read, []

    def some(handle: int, _: int) -> bytes:
        short.append(handle)
        return real(handle, 100)

    monkeypatch.setattr(os, "read", some)
    np.testing.assert_array_equal(np.asarray(open_image(tmp_path / f"a.{suffix}")), expected)
    assert len(short) == 1


def test_decompression_bombs_are_refused_before_they_unpack(tmp_path: Path) -> None:
    (tmp_path / "bomb.png").write_bytes(png(60000, 60000, 1, 0, b"\x00" * 7501))
    with refused("too-many-pixels", "decompression bomb"):
        open_image(tmp_path / "bomb.png")
    Image.new("1", (2000, 1000)).save(tmp_path / "large.png")
    assert open_image(tmp_path / "large.png").size == (2000, 1000)
    with refused("too-many-pixels", "2000 x 1000 = 2,000,000 pixels"):
        open_image(tmp_path / "large.png", max_pixels=10**6)
    with refused("too-many-pixels", "in memory is 2000 x 1000"):
        open_image(Image.new("1", (2000, 1000)), max_pixels=10**6)


def test_other_unreadable_things(tmp_path: Path) -> None:
    (tmp_path / "empty.jpg").touch()
    for item, code in (
        (tmp_path / "gone.jpg", "no-such-file"),
        (tmp_path, "is-a-folder"),
        (tmp_path / "empty.jpg", "wrong-kind"),
        (Image.new("RGB", (0, 5)), "no-pixels"),
    ):
        with refused(code, kind=UnreadableImage) as caught:
            open_image(item)
        assert isinstance(caught.value, OSError)


def test_opened_files_are_closed(tmp_path: Path) -> None:
    Image.fromarray(gradient()).save(tmp_path / "a.png")
    folder = Path("/proc/self/fd")
    if not folder.is_dir():
        pytest.skip("no list of open files here")
    before = len(list(folder.iterdir()))
    kept = [open_image(tmp_path / "a.png") for _ in range(20)]
    assert len(list(folder.iterdir())) <= before
    assert len(kept) == 20


# -- embed to a file ---------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """25 images in natural order 0 … 24, two of them broken, and files that are no images."""
    here = tmp_path / "images"
    (here / "sub").mkdir(parents=True)
    for index in range(25):
        place = here / f"{index}.png" if index < 15 else here / "sub" / f"x{index}.PNG"
        picture(index).save(place)
    (here / "9.png").write_bytes(b"broken")
    whole = io.BytesIO()
    Image.fromarray(gradient(40, 40)).save(whole, "PNG")
    (here / "sub" / "x20.PNG").write_bytes(whole.getvalue()[:200])
    (here / "labels.txt").write_text("no image")
    (here / ".hidden.png").write_bytes(b"no image")
    return here


def read(out: Path) -> np.ndarray:
    return np.asarray(open_rows(str(out)).read())


def interrupted(encoder: Encoder, folder: Path, out: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        embed(encoder, images=folder, out=out, batch_size=4)


READABLE = [i for i in range(25) if i not in (9, 20)]


@pytest.mark.parametrize("suffix", [".npy", ".safetensors", ".parquet"])
def test_a_folder_to_rows(folder: Path, tmp_path: Path, suffix: str) -> None:
    out = tmp_path / f"rows{suffix}"
    heard: list[tuple[str, int, int]] = []
    result = embed(
        Tiny(), images=folder, out=out, batch_size=4, progress=lambda *said: heard.append(said)
    )
    assert result.count == 23
    assert heard[-1] == ("images", 25, 25)
    np.testing.assert_array_equal(read(out)[:, 0], READABLE)
    assert [item.index for item in result.skipped] == [9, 20]
    listed = json.loads((tmp_path / f"rows{suffix}.skipped.json").read_text())
    assert [(item["index"], item["path"]) for item in listed] == [(9, "9.png"), (20, "sub/x20.PNG")]
    assert "not an image" in listed[0]["reason"]
    if suffix == ".parquet":
        import pyarrow.parquet as pq

        ids = pq.read_table(out).column("id").to_pylist()
        assert result.ids is None
    else:
        assert result.ids is not None
        ids = json.loads(result.ids.read_text())
    assert ids == [f"{i}.png" if i < 15 else f"sub/x{i}.PNG" for i in READABLE]
    assert not list(tmp_path.glob("*.journal*"))


def test_strict_ends_the_run_and_keeps_what_was_done(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "rows.npy"
    with refused("wrong-kind", "9.png"):
        embed(Tiny(), images=folder, out=out, batch_size=4, strict=True)
    assert not out.exists()
    picture(9).save(folder / "9.png")
    picture(20).save(folder / "sub" / "x20.PNG")
    encoder = Tiny()
    assert embed(encoder, images=folder, out=out, batch_size=4, strict=True).count == 25
    assert sum(encoder.batches) == 25 - 8
    np.testing.assert_array_equal(read(out)[:, 0], range(25))


def test_strict_refuses_a_run_that_has_skipped(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "rows.npy"
    interrupted(Tiny(fail_after=4), folder, out)
    with refused("skipped-before", "strict"):
        embed(Tiny(), images=folder, out=out, batch_size=4, strict=True)


@pytest.mark.parametrize("killed_after", range(7))
@pytest.mark.parametrize("suffix", [".npy", ".safetensors", ".parquet"])
def test_a_killed_run_goes_on(folder: Path, tmp_path: Path, killed_after: int, suffix: str) -> None:
    whole, out = tmp_path / f"whole{suffix}", tmp_path / f"rows{suffix}"
    uninterrupted = Tiny()
    embed(uninterrupted, images=folder, out=whole, batch_size=4)
    first = Tiny(fail_after=killed_after)
    interrupted(first, folder, out)
    second = Tiny()
    result = embed(second, images=folder, out=out, batch_size=4)
    assert first.batches + second.batches == uninterrupted.batches
    assert out.read_bytes() == whole.read_bytes()
    assert [item.index for item in result.skipped] == [9, 20]
    for name in (".skipped.json", ".ids.json"):
        one, other = Path(f"{whole}{name}"), Path(f"{out}{name}")
        assert one.exists() == other.exists()
        assert not one.exists() or one.read_bytes() == other.read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize(("seconds", "again"), [("0", 23 - 11), ("60", 23)])
def test_a_real_kill(folder: Path, tmp_path: Path, seconds: str, again: int) -> None:
    """What was done since the state was last written is done again, and nothing is lost."""
    out = tmp_path / "rows.npy"
    code = (
        "import os, sys; sys.path[:0] = sys.argv[1].split(os.pathsep)\n"
        "from test_encoders import Tiny\n"
        "from isthmus.encoders import rows_file\n"
        "from isthmus.encoders.embedding import embed\n"
        f"rows_file.STATE_SECONDS = {seconds}\n"
        "class Dies(Tiny):\n"
        "    def _count(self, size):\n"
        "        os.kill(os.getpid(), 9) if len(self.batches) == 3 else self.batches.append(size)\n"
        "embed(Dies(), images=sys.argv[2], out=sys.argv[3], batch_size=4)\n"
    )
    here = os.pathsep.join(str(place) for place in Path(__file__).parents[:2])
    done = subprocess.run([sys.executable, "-c", code, here, str(folder), str(out)], check=False)
    assert done.returncode == -9
    assert not out.exists()
    encoder = Tiny()
    assert embed(encoder, images=folder, out=out, batch_size=4).count == 23
    np.testing.assert_array_equal(read(out)[:, 0], READABLE)
    assert sum(encoder.batches) == again  # 12 inputs, one of them broken, were done


def test_a_run_killed_while_converting_computes_nothing_again(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import isthmus.encoders.rows_file as module

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    out = tmp_path / "rows.npy"
    with monkeypatch.context() as patch:
        patch.setattr(module.RowWriter, "write", stop)
        with pytest.raises(KeyboardInterrupt):
            embed(Tiny(), images=folder, out=out)
    encoder = Tiny()
    assert embed(encoder, images=folder, out=out).count == 23
    assert encoder.batches == []


def equals_a_run_of_now(out: Path, folder: Path) -> None:
    """Rows and lists have the bytes of one run over the files as they are."""
    whole = out.with_name("whole.npy")
    embed(Tiny(), images=folder, out=whole, batch_size=4)
    for name in ("", ".ids.json", ".skipped.json"):
        assert Path(f"{out}{name}").read_bytes() == Path(f"{whole}{name}").read_bytes()


def test_files_replaced_between_two_starts_are_embedded_again(folder: Path, tmp_path: Path) -> None:
    """With their batches, and no others; also one that can now be read, and one that is gone."""
    out = tmp_path / "rows.npy"
    interrupted(Tiny(fail_after=5), folder, out)
    picture(77).save(folder / "2.png")
    picture(9).save(folder / "9.png")
    (folder / "sub" / "x16.PNG").write_bytes(b"gone bad")
    dies = Tiny(fail_after=1)  # and killed again while it does so: as if it had not begun
    interrupted(dies, folder, out)
    encoder = Tiny()
    result = embed(encoder, images=folder, out=out, batch_size=4)
    assert result.changed == ("2.png", "9.png", "sub/x16.PNG")
    assert encoder.batches == [4, 4, 3, 3, 1]  # three batches of five, then the rest
    assert [item.index for item in result.skipped] == [16, 20]
    rows = [77 if i == 2 else i for i in range(25) if i not in (16, 20)]
    np.testing.assert_array_equal(read(out)[:, 0], rows)
    equals_a_run_of_now(out, folder)
    assert embed(Tiny(), images=folder, out=out, batch_size=4).changed == ()


def test_files_replaced_while_the_run_works_are_embedded_again(
    folder: Path, tmp_path: Path
) -> None:
    class Changing(Tiny):
        def _count(self, size: int) -> None:
            if len(self.batches) == 4:
                picture(88).save(folder / "3.png")
            super()._count(size)

    out, encoder = tmp_path / "rows.npy", Changing()
    result = embed(encoder, images=folder, out=out, batch_size=4)
    assert result.changed == ("3.png",)
    assert len(encoder.batches) == 7 + 1
    assert read(out)[3, 0] == 88
    equals_a_run_of_now(out, folder)


def test_a_state_of_something_else_is_refused(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "rows.npy"
    interrupted(Tiny(fail_after=2), folder, out)
    other = Tiny()
    other.name = "other"
    with refused("another-run", "another encoder: tiny there, other now"):
        embed(other, images=folder, out=out)
    (folder / "3.png").rename(folder / "03b.png")
    with refused("another-run", "another list of inputs"):
        embed(Tiny(), images=folder, out=out)
    (folder / "03b.png").unlink()
    with refused("another-run", "another number of inputs: 25 there, 24 now"):
        embed(Tiny(), images=folder, out=out)
    with refused("another-run", "another kind of input"):
        embed(Tiny(), texts=["a"], out=out)


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE steps SET data = zeroblob(length(data)) WHERE number = 1",
        "UPDATE steps SET data = substr(data, 5) WHERE number = 1",
        "UPDATE steps SET about = replace(about, '4.png', '5.png') WHERE number = 1",
        "DELETE FROM steps WHERE number = 0",
        "UPDATE steps SET about = CAST(x'ff0a' AS TEXT) WHERE number = 1",
    ],
)
def test_a_damaged_state_is_refused(folder: Path, tmp_path: Path, change: str) -> None:
    out = tmp_path / "rows.npy"
    interrupted(Tiny(fail_after=2), folder, out)
    with closing(sqlite3.connect(f"{out}.journal")) as base:
        base.execute(change)
        base.commit()
    encoder = Tiny()
    with refused("damaged-journal", "delete it to start over") as said:
        embed(encoder, images=folder, out=out)
    assert "\n" not in str(said.value)
    assert encoder.batches == []
    assert not out.exists()


def test_a_list_that_changes_while_it_is_read_gives_no_rows(tmp_path: Path) -> None:
    """Rows and their names would be of two lists."""
    texts, out = tmp_path / "t.txt", tmp_path / "rows.npy"
    texts.write_text("".join(f"word {i}\n" for i in range(3000)))  # more than one read takes

    class Changing(Tiny):
        def _count(self, size: int) -> None:
            if not self.batches:
                texts.write_text("".join(f"another {i}\n" for i in range(3100)))
            super()._count(size)

    with refused("inputs-changed", "3000 inputs when it was counted"):
        embed(Changing(), texts=texts, out=out)
    assert [p.name for p in tmp_path.iterdir()] == ["t.txt"]
    done = embed(Tiny(), texts=texts, out=out)
    assert done.ids is not None
    assert json.loads(done.ids.read_text()) == [f"another {i}" for i in range(3100)]


def test_a_pipe_of_texts_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for place in (tmp_path / "pipe", "/dev/zero"):
        with refused("not-a-file", "pipe or a device"):
            embed(Tiny(), texts=place, out=tmp_path / "rows.npy")


def test_names_are_those_of_the_texts_that_were_embedded(tmp_path: Path) -> None:
    """A list of texts is read once for rows and names: what follows changes neither."""
    texts, out = tmp_path / "t.txt", tmp_path / "rows.parquet"
    texts.write_text("".join("x" * (i + 1) + "\n" for i in range(20)))

    class Late(Tiny):
        def _count(self, size: int) -> None:
            if len(self.batches) == 4:  # all are read
                texts.write_text("late\n" * 20)
            super()._count(size)

    embed(Late(), texts=texts, out=out, batch_size=4)
    import pyarrow.parquet as pq

    ids = pq.read_table(out).column("id").to_pylist()
    assert [len(name) for name in ids] == read(out)[:, 0].tolist() == list(range(1, 21))


def test_two_runs_do_not_share_a_work_file(folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("fcntl")
    out = tmp_path / "rows.npy"

    class Nested(Tiny):
        def _count(self, size: int) -> None:
            with refused("file-in-use", "in use by another run"):
                embed(Tiny(), images=folder, out=out)
            super()._count(size)

    assert embed(Nested(), images=folder, out=out).count == 23


def test_nothing_readable_is_refused_but_listed(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.png").write_bytes(b"x")
    out = tmp_path / "rows.npy"
    with refused("nothing-readable", "none of the 1 images"):
        embed(Tiny(), images=tmp_path / "in", out=out)
    assert len(json.loads((tmp_path / "rows.npy.skipped.json").read_text())) == 1
    assert not out.exists()


def test_a_bad_name_is_refused_before_the_work(folder: Path, tmp_path: Path) -> None:
    encoder = Tiny()
    with refused("unknown-suffix", ".npy"):
        embed(encoder, images=folder, out=tmp_path / "rows.xyz")
    assert encoder.batches == []


def test_texts_from_lines(tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_bytes("\ufeffone\r\n\r\nthrée\u2028x\nlast".encode())
    out = tmp_path / "rows.safetensors"
    result = embed(Tiny(), texts=tmp_path / "t.txt", out=out, batch_size=3)
    assert result.count == 4
    assert json.loads(Path(f"{out}.ids.json").read_text()) == ["one", "", "thrée\u2028x", "last"]
    np.testing.assert_array_equal(load_tensors(out)[0]["rows"][:, 0], [3, 0, 7, 4])
    (tmp_path / "t.txt").write_bytes(b"fine\n\xff\xfe\n")
    with refused("not-utf8", "not a UTF-8 text file"):
        embed(Tiny(), texts=tmp_path / "t.txt", out=out)


def test_texts_from_a_parquet_column(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    texts = [f"text {i}" for i in range(9000)]
    table = pa.table({"caption": texts, "other": texts, "number": range(9000)})
    pq.write_table(table, tmp_path / "t.parquet")
    out = tmp_path / "rows.npy"
    assert embed(Tiny(), texts=f"{tmp_path}/t.parquet:caption", out=out).count == 9000
    np.testing.assert_array_equal(read(out), Tiny().encode_texts(texts))
    with refused("ambiguous-column", "'caption' (string)"):
        open_source(tmp_path / "t.parquet", "texts")
    with refused("unknown-column", "'number'", "expected text"):
        open_source(f"{tmp_path}/t.parquet:number", "texts")
    pq.write_table(pa.table({"caption": ["a", None]}), tmp_path / "n.parquet")
    with refused("null-value", "row 1 of the column 'caption' is null"):
        embed(Tiny(), texts=tmp_path / "n.parquet", out=tmp_path / "n.npy")
    (tmp_path / "bad.parquet").write_bytes(b"PAR1")
    with refused("cut-short"):
        open_source(tmp_path / "bad.parquet", "texts")


def test_rows_in_memory(folder: Path, tmp_path: Path) -> None:
    given = [picture(3), folder / "12.png", str(folder / "0.png")]
    np.testing.assert_array_equal(embed(Tiny(), images=given)[:, 0], [3, 12, 0])
    np.testing.assert_array_equal(embed(Tiny(), images=f"{folder}/1?.png")[:, 0], range(10, 15))
    np.testing.assert_array_equal(embed(Tiny(), images=f"{folder}/**/*2*.PNG")[:, 0], range(21, 25))
    np.testing.assert_array_equal(embed(Tiny(), texts=["a", "", "abc"])[:, 0], [1, 0, 3])
    encoder = Tiny()
    with pytest.warns(UserWarning, match="2 of 25 images"):
        rows = embed(encoder, images=folder, batch_size=10, workers=3)
    np.testing.assert_array_equal(rows[:, 0], READABLE)
    assert (encoder.workers, encoder.batches) == (3, [9, 10, 4])
    with refused("wrong-kind", "9.png", kind=UnreadableImage):
        embed(encoder, images=folder, strict=True)
    made = embed(Tiny(), images=f"{folder}/1?.png", out=tmp_path / "rows.npy")
    assert made.to_dict() == {
        "out": str(tmp_path / "rows.npy"),
        "rows": 5,
        "dim": 4,
        "encoder": "tiny",
        "ids": str(tmp_path / "rows.npy.ids.json"),
        "skipped": [],
        "changed": [],
    }


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({}, "images-or-texts"),
        ({"images": ["a.png"], "texts": ["a"]}, "images-or-texts"),
        ({"texts": ["a"], "batch_size": 0}, "number-too-small"),
        ({"texts": ["a"], "workers": 0}, "number-too-small"),
        ({"texts": []}, "no-inputs"),
        ({"texts": [], "out": "x.npy"}, "no-inputs"),
        ({"images": "nothing-*.png"}, "no-images"),
        ({"texts": ["a", 3], "out": "x.npy"}, "wrong-type"),
        ({"images": [Image.new("RGB", (2, 2))], "out": "x.npy"}, "wrong-type"),
    ],
)
def test_what_embed_refuses(options: dict[str, Any], code: str) -> None:
    with refused(code):
        embed(Tiny(), **options)
    assert not Path("x.npy").exists()


def test_images_from_a_list(folder: Path, tmp_path: Path) -> None:
    lines = ["12.png", "", str(folder / "3.png"), "sub/x17.PNG"]
    (folder / "list.txt").write_text("\n".join(lines))
    out = tmp_path / "rows.npy"
    embed(Tiny(), images=folder / "list.txt", out=out)
    np.testing.assert_array_equal(read(out)[:, 0], [12, 3, 17])
    given = [folder / "4.png", str(folder / "2.png")]
    embed(Tiny(), images=given, out=out)
    np.testing.assert_array_equal(read(out)[:, 0], [4, 2])
    assert json.loads(Path(f"{out}.ids.json").read_text()) == [str(p) for p in given]


def test_inputs_that_are_not_there(tmp_path: Path) -> None:
    with refused("no-such-file"):
        open_source(tmp_path / "gone", "images")
    with refused("no-images", "holds no image file"):
        open_source(tmp_path, "images")
    with refused("is-a-folder", "is a folder; expected a UTF-8 text file"):
        open_source(tmp_path, "texts")
    (tmp_path / "none.txt").touch()
    with refused("no-inputs", "none.txt is empty"):
        embed(Tiny(), texts=tmp_path / "none.txt", out=tmp_path / "o.npy")


def test_names_that_are_not_utf_8(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    place = os.path.join(os.fsencode(tmp_path / "in"), b"caf\xe9.png")
    try:
        with open(place, "wb") as file:
            picture(5).save(file, "PNG")
    except OSError:
        pytest.skip("the file system wants UTF-8 names")
    out = tmp_path / "rows.parquet"
    assert embed(Tiny(), images=tmp_path / "in", out=out).count == 1


@given(st.lists(st.text("aA1290./", min_size=1, max_size=8), unique=True))
def test_natural_order_of_names(names: list[str]) -> None:
    import re

    from isthmus.encoders.inputs import by_folder

    def slow(path: str) -> tuple[list[list[tuple[int, int, str]]], str]:
        return [
            [
                (0, int(piece), "") if piece.isdecimal() else (1, 0, piece.casefold())
                for piece in re.split(r"(\d+)", part)
                if piece
            ]
            for part in path.split("/")
        ], path

    assert sorted(names, key=by_folder) == sorted(names, key=slow)
    assert sorted(["b10", "B2", "a", "a1"], key=by_folder) == ["a", "a1", "B2", "b10"]
