"""The record of ``mixed``: figures, the chosen closer, and what they mean in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from isthmus.data.records import Record
from isthmus.data.row_stats import InputWarning, broken_of
from isthmus.robustness.mixed.levelling import PoolCloser, closing_name

EVEN = 0.1
"""A modality whose rank penalty is below this outranks nobody."""
OTHER_FORM = (
    "No answer is of its query's own modality here, which flatters what ranks that modality lower: "
    "strengths above 1 are shown and not chosen. Give queries of a third kind to choose one."
)
WIDER = 1.25
"""Ratio of spreads from which means alone are said not to level."""


@dataclass(frozen=True, eq=False)
class Mixed(Record):
    """What a mixed pool does today, and what levelling gives.

    Attributes:
        names: of sides a and b. score, k: as asked for.
        setting: ``relevance``, ``third row`` or ``other form`` (the form that is not stored asks).
        chosen_on, scored: queries. documents: in the scored pool, of a and of b. draws: mixtures.
        table: a line per closing and modality of the answer, see ``docs/mixed.md``.
        strengths: nDCG of each closing on the queries it was chosen on.
        spreads: level, spread and lead of the scores, per kind of query and modality.
        closer: the best of ``strengths`` among those that keep every ranking within a modality.
        warnings: what is suspicious about the rows and about what is right.
    """

    names: tuple[str, str]
    setting: str
    score: str
    k: int
    chosen_on: int
    scored: int
    documents: tuple[int, int]
    draws: int
    table: Sequence[Mapping[str, Any]]
    strengths: Sequence[Mapping[str, Any]]
    spreads: Sequence[Mapping[str, Any]]
    closer: PoolCloser
    warnings: tuple[InputWarning, ...] = ()

    def row(self, closing: str, relevant: str = "all") -> dict[str, Any]:
        """The line of one closing; KeyError where there is none."""
        for line in self.table:
            if (line["closing"], line["relevant"]) == (closing, relevant):
                return dict(line)
        raise KeyError(closing)

    @property
    def broken(self) -> bool:
        """Whether a finding makes every number meaningless."""
        return broken_of(self.warnings) is not None

    @property
    def helps(self) -> bool:
        """Whether the chosen closer gains, by the interval of its difference on scored queries."""
        if self.broken:
            return False
        return bool(self.row(closing_name(self.closer.strength))["difference_ci"][0] > 0)

    @property
    def uneven(self) -> bool:
        """Whether one modality outranks the other today, or each for its own queries."""
        line = self.row("none")
        if line["share_own"] is not None:
            return bool((line["displaced"] or 0.0) > EVEN)
        return self._ahead() is not None

    def to_dict(self) -> dict[str, Any]:
        """Plain values, the closer without its arrays, and the sentences."""
        return super().to_dict() | {
            "helps": self.helps,
            "sentences": self.sentences(),
            "warnings": [w.to_dict() for w in self.warnings],
        }

    def rows(self) -> list[dict[str, Any]]:
        """The table, each interval as two columns."""
        out = []
        for line in self.table:
            flat: dict[str, Any] = {}
            for name, value in line.items():
                if name.endswith("_ci"):
                    flat |= {f"{name[:-3]}_low": value[0], f"{name[:-3]}_high": value[1]}
                else:
                    flat[name] = value
            out.append(flat)
        return out

    def card(self) -> tuple[str, list[dict[str, Any]]]:
        """The first sentence, and a line per closing."""
        shown = (
            "closing",
            "ndcg",
            "recall",
            "recall@1",
            "share_a",
            "displaced",
            "kept_a",
            "kept_b",
        )
        lines = [line for line in self.table if line["relevant"] == "all"]
        return self.sentences()[0], [{name: line[name] for name in shown} for line in lines]

    def sentences(self) -> list[str]:
        """Who outranks whom today, what to do about it, and why."""
        broken = broken_of(self.warnings)
        if broken is not None:
            return [f"No advice: a finding makes every number meaningless ({broken.code})."]
        about = [OTHER_FORM] if self.setting == "other form" else []
        return [self._today(), self._advice(), *self._why(), *about, self._centring()]

    def _today(self) -> str:
        line = self.row("none")
        a, b = self.names
        if line["share_own"] is not None:
            own, other = line["share_own"], "its own modality"
            who = f"{own:.0%} of a query's {self.k} best are of {other}"
            if self.uneven:
                return f"Today each modality outranks the other for its own queries: {who}."
            return f"Today neither modality outranks the other: {who}."
        share, expected = line["share_a"], line["expected"]
        text = (
            f"{share:.0%} of the {self.k} best are of modality {a} ({expected:.0%} of the pool is)"
        )
        ahead = self._ahead()
        if ahead is None:
            return f"Today neither modality outranks the other: {text}."
        above, below = (a, b) if ahead else (b, a)
        return f"Today {above} documents outrank {below} documents: {text}."

    def _ahead(self) -> bool | None:
        """True: a outranks b. By the rank penalty of right answers, else by the share."""
        penalties = [self.row("none", side)["displaced"] for side in "ab"]
        line = self.row("none")
        gap = line["share_a"] - line["expected"]
        if None not in penalties:
            gap = (penalties[1] - penalties[0]) / 2
        return None if abs(gap) <= EVEN else bool(gap > 0)

    def _advice(self) -> str:
        name = closing_name(self.closer.strength)
        line, plain = self.row(name), self.row("none")
        low, high = line["difference_ci"]
        figures = (
            f"nDCG@{self.k} {plain['ndcg']:.3f} -> {line['ndcg']:.3f} on {self.scored} held-out "
            f"queries (difference {line['difference']:+.3f}, {low:+.3f} to {high:+.3f})"
        )
        if not self.helps:
            return f"Leave the pool as it is: levelling gains nothing that is sure, {figures}."
        what = "levelled means" if name == "levelled" else name.replace("ed", "ed levelling", 1)
        return f"Use {what}: {figures}; every ranking within a modality stays as it is."

    def _why(self) -> list[str]:
        out = []
        for first, second in zip(self.spreads[::2], self.spreads[1::2], strict=True):
            wide, narrow = sorted((first, second), key=lambda line: -line["spread"])
            ratio = wide["spread"] / narrow["spread"] if narrow["spread"] else float("inf")
            asked = first["queries"]
            who = "the queries" if asked == "queries" else f"{asked} queries"
            text = (
                f"For {who}, scores of {wide['documents']} documents spread {ratio:.2g} times as "
                f"wide as those of {narrow['documents']} documents"
            )
            if ratio < WIDER:
                out.append(f"{text}: levelling the means does nearly all.")
            else:
                out.append(f"{text}: levelled means leave that to the wider ones.")
        return out

    def _centring(self) -> str:
        line, (a, b) = self.row("centering"), self.names
        return (
            f"Centring (GR-CLIP), for comparison, gives {line['ndcg']:.3f} and changes answers: "
            f"{1 - line['kept_a']:.0%} of the best {a} documents, {1 - line['kept_b']:.0%} of the "
            f"best {b} documents."
        )
