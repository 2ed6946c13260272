"""Warnings of a calibration; the rules and what to do are in ``docs/warnings.md``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from isthmus.data.row_stats import InputWarning

FOR_BOTH = 10.0  # times the stated rate, or half-way to all: one threshold for both misleads


def warnings_of(figures: dict[str, Any]) -> Iterator[InputWarning]:
    """What makes a threshold of these figures mean less than it says."""
    rate = figures["false_match_rate"]
    for per, what in (("pair", "pairs"), ("search", "searches")):
        part = figures[per]
        if part["resolved"] and part["threshold_ci"][1] is not None:
            continue
        count = part["null"]["count"]
        text = (
            f"per {per}: a false-match rate of {rate:g} is below what {count} non-matching {what} "
            f"can resolve, so the threshold is their largest score and the rate may be higher"
            if not part["resolved"]
            else f"per {per}: {count} non-matching {what} of {figures['fit_queries']} queries put "
            f"no upper end to the threshold at a false-match rate of {rate:g}"
        )
        more = "; take more queries, or state a larger rate"
        yield InputWarning("rate-below-resolution", text + more)
    yield from _of_kinds(figures)
    if figures["truth"] is None:
        yield InputWarning(
            "no-truth",
            "nothing says which pairs match, so every pair counts as a non-match; where "
            "queries do match candidates, thresholds are too high (per search by far)",
        )
    apart = figures["separation"]
    if apart is not None and apart["auc_ci"] is not None and apart["auc_ci"][0] <= 0.5:
        yield InputWarning(
            "matches-without-signal",
            f"matches do not score above non-matches (AUC {apart['auc']:.3f}): the pairing "
            "looks broken, or the two sides are of different models",
        )
    both = {
        side: part
        for side, part in figures["same_modality"].items()
        if part is not None and part["above_cross_threshold"] > min(FOR_BOTH * rate, (1 + rate) / 2)
    }
    if both:
        shares = " and ".join(
            f"{part['above_cross_threshold']:.1%} of the pairs of {side} among themselves"
            for side, part in both.items()
        )
        own = " and ".join(f"{part['threshold']:.4g} for {side}" for side, part in both.items())
        yield InputWarning(
            "one-threshold-for-both",
            f"{shares} score above the threshold per pair of a query and a candidate, which is "
            f"for {rate:.2%}: within one modality another threshold holds ({own})",
        )
    searched = figures["fit_queries"] + figures["held_out_queries"]
    different = figures["distinct_queries"]
    if searched < different:
        yield InputWarning(
            "queries-sampled", f"{searched} of {different} queries were scored (a seeded sample)"
        )


def _of_kinds(figures: dict[str, Any]) -> Iterator[InputWarning]:
    few = [part for part in figures["kinds"] if not part["resolved"]]
    if few:
        names = ", ".join(f"'{part['kind']}' ({part['fit_queries']})" for part in few[:5])
        yield InputWarning(
            "rate-below-resolution",
            f"{len(few)} of {len(figures['kinds'])} kinds have too few queries fitted on for a "
            f"false-match rate of {figures['false_match_rate']:g}, {names}: none of their answers "
            "is decided to be a match; take more queries, or state a larger rate",
        )
    if figures["kinds_left_out"]:
        names = ", ".join(f"'{name}'" for name in figures["kinds_left_out"][:5])
        yield InputWarning(
            "kinds-left-out",
            f"{len(figures['kinds_left_out'])} kinds have fewer than 4 queries and no threshold: "
            f"{names}; merge them with others",
        )
