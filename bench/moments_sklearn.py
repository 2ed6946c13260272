"""Full moments against scikit-learn's incremental principal components on the same rows."""

from __future__ import annotations

from typing import Any

import numpy as np

from bench.rows import MADE_UP, array
from bench.timing import interleaved, ratio, result


def measure(quick: bool) -> dict[str, Any]:
    """Time of ``IncrementalPCA.partial_fit`` over ours; both end with the same spectrum."""
    from sklearn.decomposition import IncrementalPCA

    from isthmus.data.moments import Moments

    dim = 512
    batch = 5 * dim
    rows = batch * (4 if quick else 5)
    x = array(rows, dim)

    def theirs() -> IncrementalPCA:
        model = IncrementalPCA()
        for start in range(0, rows, batch):
            model.partial_fit(x[start : start + batch])
        return model

    def ours() -> Moments:
        moments = Moments.of(x)
        _ = moments.spectrum
        return moments

    taken = interleaved({"sklearn": theirs, "moments": ours}, repeats=3)
    found = ratio(taken, "sklearn", "moments")
    moments = ours()
    values = moments.spectrum[0]
    expected = theirs().explained_variance_ * ((rows - 1) / rows)
    resolved = values > moments.resolution * values[0]  # below it an eigenvalue is rounding
    difference = float(np.abs(values / expected - 1)[resolved].max())
    return {
        "moments_vs_sklearn": result(
            found.pop("value"),
            "time of scikit-learn / time of moments",
            at_least=5,
            what=f"IncrementalPCA() with its defaults (all {dim} components) fed by partial_fit in "
            f"the batches of {batch} rows that its fit would take; ours includes the spectrum",
            **found,
            shape=[rows, dim],
            dtype="float32",
            rows=MADE_UP,
            largest_relative_difference_of_eigenvalues=difference,
            eigenvalues_above_resolution=int(resolved.sum()),
        )
    }
