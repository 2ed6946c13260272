"""Embedding pictures with the emoji model against its bare ONNX session."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from bench.timing import interleaved, ratio, result

BATCH = 64


def measure(quick: bool) -> dict[str, Any]:
    """Images a second, from files and from memory, over those of the session alone."""
    import onnxruntime

    from isthmus.encoders.emoji import EmojiEncoder
    from isthmus.encoders.emoji_pixels import SIZE, pixels
    from isthmus.encoders.emoji_world import data_file, load_world

    pictures = load_world().pictures("google")[: 320 if quick else None]
    encoder = EmojiEncoder()
    session = onnxruntime.InferenceSession(  # with the library's own defaults
        data_file(f"{encoder.model}-image.onnx"), providers=["CPUExecutionProvider"]
    )
    batches = [pixels(pictures[i : i + BATCH]) for i in range(0, len(pictures), BATCH)]
    with tempfile.TemporaryDirectory(prefix="isthmus-bench-") as folder:
        files, small_files = Path(folder) / "pictures", Path(folder) / "small"
        for kept, side in ((files, pictures[0].width), (small_files, SIZE)):
            kept.mkdir()
            for number, picture in enumerate(pictures):
                picture.resize((side, side)).save(kept / f"{number:04}.png")
        out = Path(folder) / "rows.npy"
        taken = interleaved(
            {
                "session": lambda: [session.run(None, {"pixels": batch})[0] for batch in batches],
                "files": lambda: _embed(encoder, files, out),
                "small files": lambda: _embed(encoder, small_files, out),
                "memory": lambda: encoder.encode_images(pictures, batch_size=BATCH),
            },
            repeats=5 if quick else 15,
        )
    found = ratio(taken, "session", "files")
    in_memory = ratio(taken, "session", "memory")
    unscaled = ratio(taken, "session", "small files")
    speed = {**found["seconds"], **in_memory["seconds"], **unscaled["seconds"]}
    return {
        "embed_vs_session": result(
            found.pop("value"),
            "images/s of embedding / images/s of the session",
            at_least=0.7,
            what="embed_to_file of a folder of 64 x 64 RGB PNG files (in the file cache): listing, "
            "decoding, scaling to 32 x 32, the model, rows and state to disk; against a "
            "session of the same ONNX file with default options, fed ready uint8 batches",
            **found,
            from_memory=in_memory,
            from_files_of_the_models_size=unscaled,
            images_per_second={name: len(pictures) / s for name, s in speed.items()},
            images=len(pictures),
            batch_size=BATCH,
            model=encoder.model,
        )
    }


def _embed(encoder: Any, files: Path, out: Path) -> None:
    from isthmus.encoders.embed import embed_to_file

    embed_to_file(encoder, files, out, batch_size=BATCH)
    out.unlink()
