"""Photographs opened and prepared by one worker, and by as many as an encoder starts with."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from bench.timing import interleaved, ratio, result

SIZE, SIDE = (1024, 768), 224


def measure(quick: bool) -> dict[str, Any]:
    """Images a second with the default workers over those with one; the model does nothing."""
    from PIL import Image

    from isthmus.encoders import Encoder
    from isthmus.encoders.opening import default_workers

    class Idle(Encoder):
        """What CLIP does to a picture before the model, and no model."""

        name, dim = "idle", 4

        def _prepare_image(self, image: Any) -> np.ndarray:
            return np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BICUBIC), np.float32)

        def _embed_images(self, batch: list[Any]) -> np.ndarray:
            return np.zeros((len(batch), self.dim), np.float32)

    count, workers = 32 if quick else 128, default_workers()
    rng, one, several = np.random.default_rng(0), Idle(), Idle()
    several.workers = workers
    with tempfile.TemporaryDirectory(prefix="isthmus-bench-") as folder:
        names = [str(Path(folder) / f"{number}.jpg") for number in range(count)]
        for name in names:
            coarse = rng.integers(0, 256, (24, 32, 3), dtype=np.uint8)
            smooth = Image.fromarray(coarse).resize(SIZE, Image.Resampling.BICUBIC)
            smooth.save(name, quality=90)
        taken = interleaved(
            {
                "one worker": lambda: one.encode_images(names),
                "workers": lambda: several.encode_images(names),
            },
            repeats=3 if quick else 11,
        )
    found = ratio(taken, "one worker", "workers")
    return {
        "open_workers": result(
            found.pop("value"),
            f"images/s with {workers} workers / images/s with one",
            what=f"JPEG files of {SIZE[0]} x {SIZE[1]} pixels (smooth, made up; in the file "
            f"cache) opened and scaled to {SIDE} x {SIDE}, for a model that does nothing",
            **found,
            images_a_second={part: count / s for part, s in found["seconds"].items()},
            images=count,
            workers=workers,
        )
    }
