"""Consistency at every noise level at once, from one clean search (``docs/formulas.md``).

Noise on candidates leaves a query's rivals independent, so the chance that its answer survives is

    P[keep] = ∫ φ(t) ∏_{j≠1} Φ(-w_j(t)) dt

over the winner's noise t. Under dot w_j(t) = -t - u_j with the *lead* u_j, the margin in units of
the noise (D11). Under Euclidean search it is nearly that, and a function of the lead and of the
winner's distance alone (D12, by roots of χ'²). Only rivals within a reach of about 8.5 matter. They
are counted in bins of the lead, with the first two moments inside each bin, so the logarithm of
the product at all nodes t is a small matrix product, and a level costs next to nothing.
"""

from isthmus.theory.curves.consistency import (
    Curve,
    consistency_curve,
    consistency_curves,
    curves_over,
)

__all__ = ["Curve", "consistency_curve", "consistency_curves", "curves_over"]
