"""De-hubbing of scores: a number per candidate, learnt from a bank of queries. It changes answers.

Some candidates, hubs, score high with every query and crowd out the right ones. A corrector
measures how high each candidate scores with a *bank* of queries (not those to be scored) and takes
that off:

    ranking'(q, j) = ranking(q, j) + offset_j

Unlike the candidate bias of a closer, which puts back what a shift took, this is meant to change
answers: no corrector promises anything of the clean ranking. s(b, x) below is the score itself:
⟨b, x⟩, the cosine, or -½‖b - x‖² (see ``scores``), plus the candidate bias of a closer where it is
given. When to use which, and what it did on real rows: ``docs/correctors.md``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from isthmus.core.arrays import Array, unit
from isthmus.core.registry import Registry
from isthmus.errors import OptionError, ValuesError, first_rows
from isthmus.search.correctors.bank import Bank, check_finite, shared_rows
from isthmus.search.correctors.kinds import csls, dynamic_inverted_softmax, inverted_softmax, nnn
from isthmus.search.correctors.record import Corrector
from isthmus.search.scores import Ranking, check_score

CORRECTORS: Registry[Callable[..., Corrector]] = Registry("corrector")
"""Every corrector by its name. None keeps clean answers."""
OPTIONS: dict[str, tuple[str, ...]] = {}
"""The options of each."""
for _name, _function, *_options in (
    ("csls", csls, "k"),
    ("inverted-softmax", inverted_softmax, "beta"),
    ("dynamic-inverted-softmax", dynamic_inverted_softmax, "beta", "reach"),
    ("nnn", nnn, "k", "alpha"),
):
    CORRECTORS.register(_name, _function)
    OPTIONS[_name] = tuple(_options)


def fit_corrector(
    name: str,
    candidates: Array,
    bank: Array,
    *,
    score: str = "cosine",
    bias: np.ndarray | None = None,
    scored: Array | None = None,
    **options: Any,
) -> Corrector:
    """Fit a corrector by name.

    Args:
        name: a key of :data:`CORRECTORS`.
        candidates: (K, d) rows that are searched. bank: (B, d) queries of the kind to come.
        score: dot, cosine or euclidean.
        bias: (K,) candidate biases of a closer, where the candidates are searched with them.
        scored: (n, d) queries to be scored; a bank that holds one of them is refused. Without it
            nothing is checked (:func:`shared_rows` tells which they are).
        options: the corrector's own.

    Cost: O(K B d) time. Memory besides the rows: a tile of scores and a block of candidates.

    Raises:
        OptionError: an unknown name, score or option; a bank smaller than k, or that holds scored
            queries. ShapeError: dimensions do not fit. ValuesError: a row or bias is not finite.
    """
    correct = CORRECTORS[name]
    for option in options:
        if option not in OPTIONS[name]:
            known = ", ".join(OPTIONS[name])
            raise OptionError("unknown-option", f"{name} has no option '{option}'; it has {known}")
    check_score(score)
    if int(bank.shape[0]) == 0:
        raise OptionError(
            "empty-bank", "the bank holds no queries; give some of the kind that will be asked"
        )
    if bias is not None and not np.isfinite(bias).all():
        raise ValuesError("not-finite", "a bias is NaN or infinite; expected finite numbers")
    if scored is not None:
        shared = shared_rows(bank, scored)
        if len(shared):
            named = first_rows([int(i) for i in shared], len(shared))
            raise OptionError(
                "bank-holds-scored",
                f"the bank holds queries that are to be scored ({named} of them); take the bank "
                "from other queries, or the figures flatter the corrector",
            )
    forward = Ranking.of(bank, candidates, score, bias)
    for side, what in ((forward.queries, "the bank"), (forward.candidates, "the candidates")):
        check_finite(side, what)
    if score == "cosine":
        forward = replace(forward, queries=unit(forward.queries))
    return correct(Bank(forward), **options)


__all__ = ["CORRECTORS", "Corrector", "fit_corrector", "shared_rows"]
