"""Every random stream by its name: one registry, so that no two uses share their numbers.

A stream is a NumPy generator seeded by (the user's seed, the stream's number, further numbers).
Noise on rows has a stream for each block of rows (``perturb.noise``) and is not listed here.
"""

from __future__ import annotations

import numpy as np

STREAMS: dict[str, int] = {
    "audit.sample": 0x5A3,  # rows of large inputs that are kept, both sides
    "audit.split": 0x0D1,  # queries that closers are fitted on and scored on; codec rows
    "audit.gap-rows": 0x6A9,  # rows of metrics that need rows
    "bootstrap": 0xB007,  # resampling of trials and queries
    "calibrate.split": 0xCA1,  # queries used, and their fit and held-out parts
    "calibrate.nulls": 0xCA,  # candidates whose scores are kept as nulls
    "calibrate.same-side": 0x5A,  # rows of one side compared with each other
    "calibrate.subsets": 0x5B5,  # where each query's parts of the candidates begin
    "close.noise": 0,  # candidates that a codec is fitted on before its error is measured
    "compare.affine": 0xAF1,  # rows that scales and offsets are fitted on
    "compare.sample": 0xC0,  # queries compared
    "compare.rows": 0x0D,  # pairs of rows whose distances are compared
    "compare.rotation": 0x207,  # rows that a rotation is fitted on
    "compare.answers": 0xE0,  # resampling of changed answers
    "controls": 0xC7,  # vectors that are not the gap
    "demo.flips": 0xF11,  # examples shown
    "demo.inputs": 0xDE1,  # codec rows of the demo
    "demo.quiz": 0x9012,  # wrong options of a question
    "gallery.random-rows": 0x6A11,  # rows that stand for those which are among nobody's best
    "gap.separability": 0x5E9,  # held-out rows of the linear classifier
    "deploy.check": 0xDEC,  # queries that a deployment is checked with
    "deploy.sample": 0xDE5,  # items of a store that closers are tried on
    "deploy.try": 0xDE7,  # queries that closers are fitted on, chosen on and judged on in a store
    "index.held-out": 0x0A11,  # candidates kept out of an index
    "index.codec-rows": 0xC0DE,  # stored rows that its codec is fitted on
    "lab.batches": 0x1AB4,  # which pairs a step of a training sees
    "lab.inputs": 0x1AB2,  # what towers read
    "lab.noise": 0x1AB3,  # noise on candidates of the laboratory
    "lab.paper": 0x1AB5,  # queries that the gap is taken from, and those that are scored
    "lab.vectors": 0x1AB1,  # vectors and weights at the start of a training
    "lab.referee": 0x1AB2EF,  # recipes of the referee, resampled
    "laws.checked": 0x1A7C,  # queries that draws check a law on
    "laws.queries": 0x1A75,  # noise of queries that is the same for all of them
    "mixed.draws": 0x3D1,  # which documents of a mixed pool are stored as side a
    "mixed.split": 0x3D2,  # queries that strengths and means are chosen on; those that are scored
    "page.live": 0x11FE,  # rows that a page shakes
    "picture": 0x91C,  # rows drawn
    "plan.sample": 0x91A,  # queries used
    "plan.split": 0x91B,  # validation and test queries, and codec rows
    "predict.both": 0xB07,  # query noise that is averaged over
    "predict.queries": 0xD10,  # directions of the quasi-random integral
    "recommend.codec-rows": 0xCD,  # candidates that codecs are fitted on
    "recommend.sample": 0x9E,  # queries used
    "recommend.split": 0xAD,  # queries that settings are chosen on and judged on
    "row-hashes": 0x157E,  # multipliers of the hash that finds duplicates; one seed for everybody
    "stress.codec-rows": 0x5EED,  # rows that codecs are fitted on, under another seed
}
"""Name of a stream -> its number. A new stream takes a number that no other has."""


def stream(name: str, seed: int, *more: int) -> np.random.Generator:
    """The generator of one named stream.

    Args:
        name: a key of :data:`STREAMS`. seed: the user's, at least 0. more: numbers that tell
            several draws of one stream apart.

    >>> stream("picture", 0).integers(10) == stream("picture", 0).integers(10)
    True
    """
    return np.random.default_rng([seed, STREAMS[name], *more])
