"""The monitor as an evaluator of sentence-transformers, on pairs that are not trained on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from isthmus.errors import MissingExtra, OptionError
from isthmus.lab.monitor import Monitor
from isthmus.lab.monitor.logs import plain_numbers, to_jsonl

try:
    from sentence_transformers.base.evaluation import BaseEvaluator
except ImportError:
    try:
        from sentence_transformers.evaluation import SentenceEvaluator as BaseEvaluator
    except ImportError as missing:
        raise MissingExtra(
            "GapEvaluator", "sentence-transformers", "sentence-transformers"
        ) from missing

SMALLER_IS_BETTER = ("gap", "doubly_stochastic", "predicted_flips", "variance_share_along_gap")


class GapEvaluator(BaseEvaluator):
    """Encode both sides of some pairs and return the numbers of ``docs/monitor.md``, the gap and
    predicted flips among them, and ``one_bit_recall``.

    Args:
        a, b: inputs that ``model.encode`` takes (pictures and texts, questions and answers); a[i]
            belongs to b[i]. name: prefix of the numbers. primary: the number that the best
            checkpoint is chosen by; ``recall`` (within these pairs) by default, since the smallest
            gap is not the best model. The numbers are also added to ``gap_NAME.jsonl`` in the
            output folder.
    """

    def __init__(
        self,
        a: Sequence[Any],
        b: Sequence[Any],
        *,
        name: str = "",
        primary: str = "recall",
        batch_size: int = 32,
    ) -> None:
        super().__init__()
        if len(a) != len(b) or len(a) < 2:
            raise OptionError(
                "unequal-lengths",
                f"GapEvaluator got {len(a)} and {len(b)} inputs; it takes at least 2 pairs",
            )
        self.a, self.b, self.name, self.batch_size = list(a), list(b), name, batch_size
        self.primary_metric = f"{name}_{primary}" if name else primary
        self.greater_is_better = primary not in SMALLER_IS_BETTER
        self.monitor = Monitor(every=1)

    def __call__(
        self, model: Any, output_path: str | None = None, epoch: int = -1, steps: int = -1
    ) -> dict[str, float]:
        encode = {"batch_size": self.batch_size, "show_progress_bar": False}
        x, y = (model.encode(side, **encode) for side in (self.a, self.b))
        self.monitor.update(x, y)
        numbers = self.monitor.read(step=steps)
        numbers["one_bit_recall"] = one_bit_recall(x, y)
        if output_path is not None:
            Path(output_path).mkdir(parents=True, exist_ok=True)
            line = {"epoch": epoch, **numbers}
            to_jsonl(Path(output_path) / f"gap_{self.name or 'pairs'}.jsonl")(line)
        found = plain_numbers(numbers, prefix=f"{self.name}_" if self.name else "")
        self.store_metrics_in_model_card_data(model, found, epoch, steps)
        return found


def one_bit_recall(queries: Any, candidates: Any) -> float:
    """Share of queries (n, d) that find candidate i first where candidates are stored as signs.

    One bit a dimension, queries in float, inner product: what stores call binary quantisation.
    Among equal scores the lower row is first. O(n² d), 1,024 queries at a time.
    """
    x, y = (np.asarray(side, np.float32) for side in (queries, candidates))
    bits = np.where(y > 0, np.float32(1), np.float32(-1)).T
    right = 0
    for at in range(0, len(x), 1024):
        part = x[at : at + 1024]
        right += int(((part @ bits).argmax(axis=1) == np.arange(at, at + len(part))).sum())
    return right / len(x)
