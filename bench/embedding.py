"""Embedding pictures with the emoji model against its bare ONNX session."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

from bench.timing import REST, interleaved, ratio, result, spread

BATCH = 64


def measure(quick: bool) -> dict[str, Any]:
    """Images a second, from files and from memory, over those of the session alone."""
    import onnxruntime
    from PIL import Image

    from isthmus.encoders.emoji import EmojiEncoder
    from isthmus.encoders.emoji_pixels import SIZE, pixels, small
    from isthmus.encoders.emoji_world import data_file, load_world
    from isthmus.encoders.images import open_image

    pictures = load_world().pictures("google")[: 320 if quick else None]
    encoder = EmojiEncoder()
    file = data_file(f"{encoder.model}-image.onnx")
    plain, one = onnxruntime.SessionOptions(), onnxruntime.SessionOptions()
    one.intra_op_num_threads = 1
    session, single = (  # with the library's own defaults; on one core, as the encoder runs it
        onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
        for options in (plain, one)
    )
    batches = [pixels(pictures[i : i + BATCH]) for i in range(0, len(pictures), BATCH)]
    with tempfile.TemporaryDirectory(prefix="isthmus-bench-") as folder:
        files, small_files = Path(folder) / "pictures", Path(folder) / "small"
        for kept, side in ((files, pictures[0].width), (small_files, SIZE)):
            kept.mkdir()
            for number, picture in enumerate(pictures):
                picture.resize((side, side)).save(kept / f"{number:04}.png")
        out, names = Path(folder) / "rows.npy", sorted(map(str, files.iterdir()))
        taken = interleaved(
            {
                "session": lambda: [session.run(None, {"pixels": batch})[0] for batch in batches],
                "files": lambda: _embed(encoder, files, out),
                "small files": lambda: _embed(encoder, small_files, out),
                "memory": lambda: encoder.encode_images(pictures, batch_size=BATCH),
                # the parts, each on one core
                "session, one thread": lambda: [
                    single.run(None, {"pixels": batch})[0] for batch in batches
                ],
                "Pillow": lambda: [Image.open(name).load() for name in names],
                "open_image": lambda: [open_image(name) for name in names],
                "open_image and scaling": lambda: [small(open_image(name)) for name in names],
            },
            repeats=5 if quick else 15,
        )
        session.run(None, {"pixels": batches[0]})
        before = time.process_time()  # of all threads, none of which has anything to do
        time.sleep(REST)
        spun = 1000 * (time.process_time() - before)
    found = ratio(taken, "session", "files")
    return {
        "embed_vs_session": result(
            found.pop("value"),
            "images/s of embedding / images/s of the session",
            at_least=0.7,
            what="embed of a folder of 64 x 64 RGB PNG files (in the file cache): listing, "
            "decoding, scaling to 32 x 32, the model, rows and state to disk; against a "
            "session of the same ONNX file with default options, fed ready uint8 batches",
            **found,
            from_memory=ratio(taken, "session", "memory"),
            from_files_of_the_models_size=ratio(taken, "session", "small files"),
            milliseconds_a_picture={
                part: spread([1000 * seconds / len(pictures) for seconds in turns])
                for part, turns in taken.items()
            },
            milliseconds_spun_after_a_session=spun,
            images=len(pictures),
            batch_size=BATCH,
            model=encoder.model,
        )
    }


def _embed(encoder: Any, files: Path, out: Path) -> None:
    from isthmus.encoders.embedding import embed

    embed(encoder, images=files, out=out, batch_size=BATCH)
    out.unlink()
