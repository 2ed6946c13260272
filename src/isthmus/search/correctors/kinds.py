"""The four corrections: a bank of queries -> a
:class:`~isthmus.search.correctors.record.Corrector`."""

from __future__ import annotations

import numpy as np

from isthmus.errors import OptionError
from isthmus.search.correctors.bank import Bank
from isthmus.search.correctors.record import Corrector
from isthmus.search.scores import top_k


def csls(bank: Bank, *, k: int = 10) -> Corrector:
    """Cross-domain similarity local scaling: offset_j = -½ r_j.

    CSLS(q, x_j) = 2 s(q, x_j) - r(q) - r_j, with r_j the mean score of x_j with the k bank queries
    nearest to it (Conneau et al. 2018, arXiv 1710.04087, eq. 3; k = 10 there). r(q), the mean of
    q's k nearest candidates, is a constant of the query and never changes its ranking, so it is
    left out, and half of the rest has the units of s. It is :func:`nnn` with α = ½.

    Raises:
        OptionError: fewer than k bank queries.
    """
    offset = -0.5 * bank.nearest_mean("csls", k)
    return Corrector("csls", bank.score, offset, None, {"k": k, "bank": bank.size})


def nnn(bank: Bank, *, k: int = 16, alpha: float = 0.75) -> Corrector:
    """Nearest neighbour normalisation: s(q, x_j) - α · mean of the k best bank scores of x_j.

    Chowdhury et al. 2024 (arXiv 2410.24114), who choose α and k on held-out pairs; so should you.

    Raises:
        OptionError: fewer than k bank queries; an α that is no number.
    """
    if not np.isfinite(alpha):
        raise OptionError(
            "bad-alpha", f"alpha={alpha} is not a number; 0 changes nothing, 0.25 to 1.5 is usual"
        )
    offset = -alpha * bank.nearest_mean("nnn", k)
    return Corrector("nnn", bank.score, offset, None, {"k": k, "alpha": alpha, "bank": bank.size})


def inverted_softmax(bank: Bank, *, beta: float = 20.0) -> Corrector:
    """Inverted softmax over a bank: exp(β s(q, x_j)) / mean over b of exp(β s(b, x_j)).

    Its logarithm over β, which ranks alike, is s(q, x_j) - (1/β) log mean exp(β s(b, x_j)). Smith
    et al. 2017 (arXiv 1702.03859, eq. 13); with a bank that holds no scored query it is the
    inverted softmax of QB-Norm (Bogolin et al. 2022, arXiv 2112.12777; β = 20 there). A large β
    takes off the best bank score, a small one the mean.

    Raises:
        OptionError: β is not a positive number.
    """
    offset = -bank.soft_maximum(_positive(beta))
    return Corrector(
        "inverted-softmax", bank.score, offset, None, {"beta": beta, "bank": bank.size}
    )


def dynamic_inverted_softmax(bank: Bank, *, beta: float = 20.0, reach: int = 1) -> Corrector:
    """:func:`inverted_softmax`, but only for queries whose plain first answer is a likely hub.

    The hubs ("activation set") are candidates among the ``reach`` best of some bank query (the k
    of QB-Norm, Bogolin et al. 2022; 1 there). Other queries keep their plain ranking, so a bank
    unlike the queries does little harm.

    Raises:
        OptionError: β is not a positive number, or ``reach`` is more than the candidates.
    """
    offset = -bank.soft_maximum(_positive(beta))
    active = np.zeros(len(offset), bool)
    active[top_k(bank.forward, reach).rows.ravel()] = True
    facts = {"beta": beta, "reach": reach, "bank": bank.size, "active": int(active.sum())}
    return Corrector("dynamic-inverted-softmax", bank.score, offset, active, facts)


def _positive(beta: float) -> float:
    if not (np.isfinite(beta) and beta > 0):
        raise OptionError(
            "bad-beta", f"beta={beta} is not a positive number; 20 is usual for cosines"
        )
    return beta
