"""The numbers of the gap as a table: what each key is called, and what it says, in one line."""

from typing import Any

from isthmus.report.numbers import NOTHING, interval, metric
from isthmus.report.words import names

GAP_WORDS = {
    "norm": ("gap", "distance between the means of the two sides; 0: no gap"),
    "relative_norm": (
        "gap, by the rows' length",
        "the gap over the root of the mean squared norm: the same where rows are of unit norm",
    ),
    "norm_unbiased": ("gap, corrected", "the gap less what sampling adds to its square"),
    "norm_unbiased_paired": (
        "gap, corrected for pairs",
        "the same, counting that paired means share their items",
    ),
    "centroid_cosine": ("cosine of the means", "1: both sides point the same way on average"),
    "mean_norm": (
        "length of the mean",
        "of unit rows: 1 when all rows point one way, near 0 when they point everywhere",
    ),
    "frechet": (
        "Fréchet distance, squared",
        "distance between the two clouds taken as Gaussians: gap squared plus the Bures term",
    ),
    "frechet_centroid_share": ("share of it from the means", "how much of it is the gap itself"),
    "bures": ("Bures term", "the part of the Fréchet distance that comes from unlike shapes"),
    "variance_share_along_gap": (
        "variance along the gap",
        "share of a side's variance that lies along the gap; small: the gap is an offset, not "
        "a direction in which rows differ",
    ),
    "effective_rank": (
        "effective rank",
        "how many directions a side uses: exponential of the entropy of its spectrum",
    ),
    "participation_ratio": (
        "participation ratio",
        "the same question, answered by the squared spectrum; counts weak directions less",
    ),
    "energy_top10": (
        "gap in few coordinates",
        "share of the squared gap held by its largest tenth of coordinates",
    ),
    "subspace_overlap": (
        "shared leading directions",
        "overlap of the leading principal directions: 1 the same, directions / dimensions by "
        "chance",
    ),
    "subspace_k": ("directions compared", "how many leading directions the overlap looks at"),
    "intra_cosine": ("cosine within a side", "mean cosine of two different rows of one side"),
    "cross_cosine": ("cosine across", "mean cosine of a row of one side and a row of the other"),
    "matched_cosine": ("cosine of pairs", "mean cosine of a row and its own pair"),
    "rmg": (
        "relative gap (RMG)",
        "distance of pairs over itself plus the distance within sides; 0.5: pairs are as far "
        "apart as two rows of one side",
    ),
    "alignment": ("alignment", "mean squared distance of pairs; 0: pairs coincide"),
    "uniformity": (
        "uniformity",
        "log mean of exp(-2 · squared distance) over pairs of rows; lower: more spread out",
    ),
    "hubness_skew": (
        "hubness",
        "skewness of how often a candidate is among a query's best ten; high: a few candidates "
        "are answers to everything",
    ),
    "separability": (
        "separable by a plane",
        "accuracy of a linear rule that says which side a row is of; 0.5: no better than a coin",
    ),
}


def gap_rows(report: dict[str, Any]) -> list[dict[str, str]]:
    """The gap table: key, label, value, interval and meaning, one entry per number.

    Numbers under ``a`` and ``b`` are labelled with the sides' names. A None shows its reason.
    """
    gap, called = report.get("gap") or {}, names(report)
    why, spans = gap.get("why_null") or {}, gap.get("intervals") or {}
    table = []
    for key, value in gap.items():
        if key in ("why_null", "intervals", "sample", "norm_ci", "severity"):
            continue
        label, meaning = GAP_WORDS.get(key, (key.replace("_", " "), ""))
        parts = value.items() if isinstance(value, dict) else [(None, value)]
        for i, (part, item) in enumerate(parts):
            full = key if part is None else f"{key}.{part}"
            span = spans.get(full.replace(".", "_"))
            if key == "norm":
                span = gap.get("norm_ci") or span
            reason = why.get(full) or why.get(key) or ""
            table.append(
                {
                    "key": full,
                    "label": label if i == 0 else "",
                    "part": "" if part is None else _part(str(part), called),
                    "value": metric(item),
                    "interval": interval(span, metric) if item is not None else NOTHING,
                    "meaning": meaning if i == 0 else "",
                    "why": str(reason) if item is None else "",
                }
            )
    return table


def _part(part: str, called: dict[str, str]) -> str:
    words = {
        "a_to_b": f"{called['a']} → {called['b']}",
        "b_to_a": f"{called['b']} → {called['a']}",
        "cross": "between the two",
        "lda": "by a Gaussian model",
        "held_out": "on rows held out",
    }
    return called.get(part) or words.get(part) or part
