"""Planted faults: each breaks one line that a user's trust rests on, and a test must notice.

    python tests/mutants.py                 plant all of them, two at a time
    python tests/mutants.py NAME ...        plant some
    python tests/mutants.py --list          say where each line is now; plant nothing

Every fault is planted in a temporary copy of ``src``; the work tree is never written to. Only the
tests named with the fault are run. They import the copy, which is checked in their own process.
The same tests first pass on an unchanged copy, or nothing is learned from their failure.

Exit code 1: a fault survived, an entry does not fit the sources any more, or the tests fail
without a fault. To update an entry after code has moved, change its ``file``, ``old`` and ``new``;
``--list`` says in which file the text is now.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

ROOT = Path(__file__).resolve().parents[1]
AT_ONCE = 2
SECONDS = 300
"""A run of tests that takes longer is broken, not a fault that was caught."""


@dataclass(frozen=True)
class Fault:
    """One line gone wrong.

    ``file``: below ``src/isthmus``. ``old`` is in it exactly once and becomes ``new``. ``why``:
    what the fault would do to a user. ``tests``: ``FILE::TEST``; a file is found by its name
    anywhere below ``tests``.
    """

    name: str
    file: str
    old: str
    new: str
    why: str
    tests: tuple[str, ...]


FAULTS = (
    Fault(
        "merge-loses-parts",
        "core/topk.py",
        "self.new += [(other.query, other.row, other.value), *other.new]",
        "self.new += other.new",
        "What another worker found among its rows would be lost.",
        ("test_running.py::test_merged_parts_give_the_answers_and_ties_of_the_whole",),
    ),
    Fault(
        "killed-not-begun-anew",
        "engines/local.py",
        "for attempt in range(1, ATTEMPTS + 1):",
        "for attempt in range(ATTEMPTS, ATTEMPTS + 1):",
        "A worker that is killed would end the whole run.",
        ("test_local.py::test_what_a_killed_worker_was_doing_is_done_by_a_fresh_one",),
    ),
    # --- moments and the gap report ---------------------------------------------------------------
    Fault(
        "moments-sample-covariance",
        "data/moments.py",
        "return self.scatter / max(self.count - ddof, 1)",
        "return self.scatter / max(self.count - 1 - ddof, 1)",
        "The covariance would be that of a sample where the report says population.",
        (
            "test_moments.py::test_spectrum_ranks_and_variances_agree_with_sklearn",
            "test_gap.py::test_frechet_and_bures_against_scipy",
        ),
    ),
    Fault(
        "moments-merge",
        "data/moments.py",
        "scatter += np.outer(delta, delta) * (self.count * (other.count / count))",
        "scatter += np.outer(delta, delta) * (other.count * (other.count / count))",
        "Shards of unequal size would not add up to the file that they were cut from.",
        ("test_moments.py::test_merge_is_associative_and_commutative",),
    ),
    Fault(
        "moments-merge-pairs",
        "data/moments.py",
        "self.cross + other.cross + jump * weight",
        "self.cross + other.cross",
        "Pairs read in parts would lose the cross scatter that lies between the parts.",
        ("test_summarise.py::test_shards_cut_differently_on_the_two_sides",),
    ),
    Fault(
        "gap-rmg-formula",
        "metrics/gap.py",
        "within = ((1 - intra_a) / 2 + (1 - intra_b) / 2) / 2",
        "within = (1 - intra_a) / 2 + (1 - intra_b) / 2",
        "RMG would weigh the distances within the modalities twice and not be the published one.",
        ("test_gap.py::test_cosines_rmg_and_alignment_by_brute_force",),
    ),
    Fault(
        "gap-finite-sample",
        "metrics/gap.py",
        "noise = a.total_variance / max(a.count - 1, 1) + b.total_variance / max(b.count - 1, 1)",
        "noise = a.total_variance / max(a.count, 1) + b.total_variance / max(b.count, 1)",
        "The correction for few rows would be too small by one part in n.",
        ("test_gap.py::test_the_corrected_norm_is_right_on_average",),
    ),
    Fault(
        "gap-interval-of-pairs",
        "metrics/gap.py",
        "variance -= 2 * float(along @ pair.cross @ along)",
        "variance += 2 * float(along @ pair.cross @ along)",
        "The interval of a paired gap would be too wide: what pairs share cancels in the gap.",
        ("test_gap.py::test_the_interval_of_the_norm_covers_the_truth",),
    ),
    # --- closers, their promises, and their check -------------------------------------------------
    Fault(
        "center-queries-bias-sign",
        "closers/translations.py",
        "given.closer(given.moved(-step), candidate, promise, step,",
        "given.closer(given.moved(-step), candidate, promise, -step,",
        "The candidate bias would be taken off instead of added, and answers would change.",
        ("test_maps_closers.py::test_the_stored_bias_gives_back_every_score",),
    ),
    Fault(
        "biased-shift-direction",
        "closers/translations.py",
        "moved = given.moved(-step if on_query else step)",
        "moved = given.moved(step if on_query else -step)",
        "The shift would open the gap instead of closing it.",
        ("test_closers_reference.py::test_biased_shift_closes_the_gap_on_either_side",),
    ),
    Fault(
        "orthogonal-shift-rank",
        "closers/promises.py",
        "basis = candidates.spectrum[1][:, :rank]",
        "basis = candidates.spectrum[1][:, : rank - 1]",
        "Candidates would move along a direction in which they differ, and answers would change.",
        ("test_maps_closers.py::test_the_shift_is_orthogonal_to_all_differences",),
    ),
    Fault(
        "mean-shift-side",
        "closers/shifts.py",
        'given.moved(-step if side == "query" else step, renormalise)',
        'given.moved(step if side == "query" else -step, renormalise)',
        "The baseline would move away from the other modality, and flatter what stands beside it.",
        ("test_maps_closers.py::test_mean_shift_brings_the_means_together",),
    ),
    Fault(
        "ridge-weight",
        "closers/ridge.py",
        "level / (level + ridge * values)",
        "level / (level + values)",
        "The ridge would not weigh answers that change, whatever number it is given.",
        ("test_closers_reference.py::test_ridge_shift_is_the_minimum_of_its_objective",),
    ),
    Fault(
        "span-promise",
        "closers/projections.py",
        "if given.strength == 0 or given.spans_hull(rank):",
        "if given.strength == 0 or rank > 0:",
        "A projection that drops directions would promise that no answer changes.",
        (
            "test_closers_reference.py::test_projections_of_too_few_directions_promise_nothing"
            "_where_no_bound_is_known",
        ),
    ),
    Fault(
        "memo-lost",
        "closers/projections.py",
        "matrix = np.vstack([np.eye(given.dim) - apart @ apart.T, apart.T])",
        "matrix = np.vstack([np.eye(given.dim), apart.T])",
        "The directions kept beside the vector would be counted twice in every score.",
        ("test_closers_reference.py::test_memo_keeps_plain_scores_and_shortens_what_is_coded",),
    ),
    Fault(
        "procrustes-transposed",
        "closers/matching.py",
        "cross = pairs.cross.T  # (d_c, d_q)",
        "cross = pairs.cross  # (d_c, d_q)",
        "Queries would be turned the wrong way round.",
        ("test_closers_reference.py::test_procrustes_is_that_of_scipy",),
    ),
    Fault(
        "coral-not-whitened",
        "closers/matching.py",
        "_power(given.candidates, shrinkage, 0.5), _power(given.queries, shrinkage, -0.5)",
        "_power(given.candidates, shrinkage, 0.5), _power(given.queries, shrinkage, 0.5)",
        "Queries would be coloured twice and never whitened.",
        ("test_closers_reference.py::test_coral_and_whitening_by_matrix_roots",),
    ),
    Fault(
        "verify-excuses-changes",
        "closers/verification.py",
        "near = np.abs(drop_s[rows, last]) <= widths",
        "near = np.abs(drop_t[rows, last]) <= widths",
        "A small margin after the closer would excuse a changed answer, and a false promise hold.",
        ("test_verify.py::test_a_small_margin_after_the_closer_excuses_nothing",),
    ),
    # --- scores, ties, what is right --------------------------------------------------------------
    Fault(
        "cosine-scale",
        "search/scores.py",
        "return 1.0 / xp.where(norms > 0, norms, xp.ones_like(norms)), None",
        "return 1.0 / xp.where(norms > 0, norms * norms, xp.ones_like(norms)), None",
        "Cosine would favour short candidates.",
        ("test_scores_tasks.py::test_ranking_values_are_the_score_up_to_a_constant_of_the_query",),
    ),
    Fault(
        "euclidean-offset",
        "search/scores.py",
        "return None, -0.5 * norms * norms",
        "return None, -norms * norms",
        "Euclidean search would rank by something that is no distance.",
        ("test_scores_tasks.py::test_ranking_values_are_the_score_up_to_a_constant_of_the_query",),
    ),
    Fault(
        "tie-order",
        "search/scores.py",
        "return tied.argmax(axis=1)",
        "return scores.argmax(axis=1)",
        "Exact duplicates would be answered in an order that rounding decides.",
        ("test_scores_tasks.py::test_all_tied_gives_the_lowest_rows_first",),
    ),
    Fault(
        "recall-at-k",
        "search/outcomes.py",
        "return (self.rank[judged] < k).astype(bool)",
        "return (self.rank[judged] <= k).astype(bool)",
        "Recall@k would be recall@(k + 1).",
        ("test_scores_tasks.py::test_many_to_many_relevance_counts_the_best_right_candidate",),
    ),
    Fault(
        "relevance-worst-place",
        "search/outcomes.py",
        "best = line[right].max()",
        "best = line[right].min()",
        "Of several right candidates the worst would count.",
        ("test_scores_tasks.py::test_many_to_many_relevance_counts_the_best_right_candidate",),
    ),
    # --- perturbations and the stress table -------------------------------------------------------
    Fault(
        "noise-convention",
        "core/levels.py",
        '"coordinate": float(dim)',
        '"coordinate": float(dim) ** 0.5',
        "A level per coordinate would be a far smaller noise than it says.",
        ("test_noise_codecs_stress.py::test_level_conventions",),
    ),
    Fault(
        "noise-streams-shared",
        "perturb/noise.py",
        '_ROLES = {"query": 0, "candidate": 1}',
        '_ROLES = {"query": 0, "candidate": 0}',
        "Queries and candidates would get the same noise, which cancels where both are disturbed.",
        ("test_noise_codecs_stress.py::test_every_name_of_a_stream_gives_other_noise",),
    ),
    Fault(
        "codec-sees-test-rows",
        "robustness/coded.py",
        "stored = self.rows[self.task.candidate_calibration]",
        "stored = self.rows",
        "Codecs would be fitted on the rows that they are judged on.",
        ("test_noise_codecs_stress.py::test_codecs_never_see_rows_outside_the_calibration_split",),
    ),
    Fault(
        "quantiser-wraps",
        "perturb/codecs/uniform.py",
        "cells = np.clip(self.unclipped(rows), 0, self.last_code)",
        "cells = self.unclipped(rows) % self.bins",
        "Values outside the range would come back at its other end.",
        (
            "test_noise_codecs_stress.py::test_values_outside_the_calibration_saturate_and_never_wrap",
        ),
    ),
    Fault(
        "flip-reference",
        "robustness/searches.py",
        "return self.answers == self.search.clean_top1\n\n    @property",
        "return self.answers == self.search.today_top1\n\n    @property",
        "Consistency would be against the answers before closing, which is the column beside it.",
        ("test_noise_codecs_stress.py::test_gaussian_noise_by_a_double_loop",),
    ),
    Fault(
        "journal-of-other-work",
        "robustness/run.py",
        "if journal.others():",
        "if False:",
        "A run would go on from the figures of another grid.",
        ("test_stress_run.py::test_another_grids_journal_is_not_gone_on_with",),
    ),
    Fault(
        "journal-swapped-steps",
        "data/journal.py",
        "if number != expected or checksum != last:",
        "if number != expected:",
        "A resumed table would hold figures under another perturbation than the one of its row.",
        ("test_stress_run.py::test_a_journal_whose_steps_were_swapped_is_refused",),
    ),
    # --- theory -----------------------------------------------------------------------------------
    Fault(
        "d11-spread",
        "theory/candidates.py",
        "spread = np.sqrt(total / dims) * lengths",
        "spread = np.sqrt(2 * total / dims) * lengths",
        "The predicted consistency under dot would be that of twice the noise.",
        ("test_predict.py::test_dot_by_quadrature",),
    ),
    Fault(
        "d12-stored-number",
        "theory/candidates.py",
        "lift = 2 * margins / variance - (lam - lam[rows, first][:, None])",
        "lift = margins / variance - (lam - lam[rows, first][:, None])",
        "Candidate biases would count half in the prediction under Euclidean distance.",
        ("test_predict.py::test_biases_under_euclid",),
    ),
    Fault(
        "d12-non-centrality",
        "theory/candidates.py",
        "lam = clean.squares(part, dims) / variance",
        "lam = 2 * clean.squares(part, dims) / variance",
        "The predicted consistency under Euclidean distance would be too high.",
        ("test_predict.py::test_euclid_by_quadrature_over_scipy_s_distributions",),
    ),
    Fault(
        "radius-factor-two",
        "theory/radii.py",
        "reach = np.broadcast_to(2 * sizes[part][:, None], margins.shape)",
        "reach = np.broadcast_to(sizes[part][:, None], margins.shape)",
        "The certified radius of candidates would be twice what is safe.",
        ("test_radii.py::test_every_attack_flips_just_outside_its_radius_and_not_inside",),
    ),
    # --- intervals, thresholds, gates, advice -----------------------------------------------------
    Fault(
        "wilson-interval",
        "core/statistics.py",
        "(share + z * z / (2 * count)) / whole",
        "share",
        "Shares would carry another interval than the one that is named.",
        ("test_noise_codecs_stress.py::test_wilson_is_the_textbook_interval",),
    ),
    Fault(
        "mcnemar-one-sided",
        "core/statistics.py",
        "min(1.0, 2 * float(bdtr(min(lost, won), lost + won, 0.5)))",
        "float(bdtr(lost, lost + won, 0.5))",
        "The p-value would look at one direction only.",
        ("test_noise_codecs_stress.py::test_paired_differences_and_mcnemar",),
    ),
    Fault(
        "trials-as-independent",
        "core/statistics.py",
        "(inner * by_trial).sum(axis=1, dtype=np.float64)",
        "inner.sum(axis=1, dtype=np.float64)",
        "Queries that share a draw would count as independent, and intervals be too short.",
        (
            "test_noise_codecs_stress.py::test_intervals_cover_where_queries_of_a_trial_hang"
            "_together",
        ),
    ),
    Fault(
        "threshold-order",
        "deploy/thresholds/intervals.py",
        "return int(np.floor(rate * (count + 1) + 1e-9))",
        "return int(np.ceil(rate * (count + 1) + 1e-9))",
        "More non-matches than stated would pass the threshold.",
        ("test_calibrate.py::test_thresholds_by_order_statistics",),
    ),
    Fault(
        "threshold-judged-on-fit",
        "deploy/thresholds/figures.py",
        "fitted, held_out = scores.of(fit), scores.of(held)",
        "fitted, held_out = scores.of(fit), scores.of(fit)",
        "The false-match rate would be reported on the queries that set the threshold.",
        ("test_calibrate.py::test_what_is_judged_is_not_what_was_fitted",),
    ),
    Fault(
        "plan-chosen-on-test",
        "workflows/storage.py",
        "bool(first.mean() - margin >= planned.target)",
        "bool(second.mean() >= planned.target)",
        "A storage plan would be chosen on the queries that its figures are of.",
        ("test_plan.py::test_the_choice_is_the_smallest_that_meets",),
    ),
    Fault(
        "multi-bit-levels",
        "perturb/codecs/rabitq.py",
        "factors[:, 1:] / -2",
        "factors[:, 1:] / -2.01",
        "RaBitQ of several bits would be scored otherwise than FAISS scores it.",
        ("test_codecs.py::test_multi_bit_rabitq_scores_as_a_faiss_index_does",),
    ),
    Fault(
        "canary-twins",
        "deploy/canary.py",
        "there = (best != np.arange(len(best))) & (moved > rounding)",
        "there = best != np.arange(len(best))",
        "Inputs with the same vector would count as rows that changed places.",
        ("test_canary.py::test_twins_and_a_collapse_are_no_other_order",),
    ),
    Fault(
        "compare-gate",
        "deploy/comparison/answers.py",
        "exceeded = bool(rate.mean > limit)",
        "exceeded = bool(rate.low > limit)",
        "The gate would let a change pass whose flip rate lies above the limit.",
        ("test_compare.py::test_the_gate_is_held_against_the_point_estimate",),
    ),
    Fault(
        "compare-certificate",
        "deploy/comparison/answers.py",
        "return np.where(error > 0, error / np.maximum(radius, 1e-300), 0.0)",
        "return np.where(error > 0, 0.5 * error / np.maximum(radius, 1e-300), 0.0)",
        "Answers would be certified although the error reaches another candidate.",
        (
            "test_compare.py::test_a_certified_answer_never_flips",
            "test_compare.py::test_certificates_are_tight_for_queries",
        ),
    ),
    Fault(
        "audit-floor",
        "workflows/recommendation/deciding.py",
        "ROUNDING = 1e-12",
        "ROUNDING = 0.1",
        "A closer that changes one answer in ten would be recommended as keeping all.",
        ("test_recommend.py::test_a_closer_below_the_floor_is_taken_only_where_the_floor_allows",),
    ),
    Fault(
        "advice-tried-on-judging-half",
        "workflows/recommendation/recommending.py",
        "task, train, perturbations, trials=max(2, draws // 3)",
        "task, test, perturbations, trials=max(2, draws // 3)",
        "Settings would be chosen on the queries that the advice is judged on.",
        ("test_advise.py::test_nothing_of_the_judging_half_reaches_the_choice",),
    ),
    Fault(
        "audit-advises-against-noise-first",
        "workflows/recommendation/verdicts.py",
        '(Perturbation(**entry["perturbation"]).kind == "codec", names.count(who), more["gain"])',
        '(True, names.count(who), more["gain"])',
        "Whoever stores codes would be advised the closer that is best against noise.",
        ("test_verdict.py::test_a_closer_for_a_code_goes_before_closers_for_noise",),
    ),
    Fault(
        "one-bit-by-the-closers-figure",
        "workflows/recommendation/verdicts.py",
        "closer.score: float(test.flips.mean())",
        "closer.score: float(measured[0][2].flips.mean())",
        "One bit as FAISS ranks it would show the figure of another ranking.",
        ("test_verdict.py::test_codes_say_what_every_score_changes",),
    ),
    Fault(
        "advice-picked-by-judging-half",
        "workflows/recommendation/deciding.py",
        "best = min(able, key=lambda r: r.figures.validation.flips)",
        "best = min(able, key=lambda r: r.figures.test.flips)",
        "The closer would be the winner on the judging half, whose figures then flatter it.",
        ("test_recommend.py::test_the_closer_is_picked_by_its_flips_on_the_validation_queries",),
    ),
    Fault(
        "items-by-row",
        "search/task.py",
        "return np.where(rows < 0, rows, self.candidate_items[rows])",
        "return rows",
        "Another crop of the same picture would count as a changed answer.",
        ("test_items.py::test_answers_are_items_through_every_perturbation",),
    ),
    Fault(
        "slip-without-sign",
        "search/pairing.py",
        "moved = tuple(s for s in self.segments if s.shift)",
        "moved = tuple(s for s in self.segments if (s.shift or 0) > 0)",
        "A picture that was left out would shift all later pairs without a word.",
        ("test_pairing.py::test_slips_of_many_rows_and_near_the_end_are_found",),
    ),
    Fault(
        "apply-zero-rows",
        "closers/validity.py",
        "np.flatnonzero(~to_numpy(xp.any(rows != 0, axis=1)).astype(bool))",
        "np.zeros(0, np.int64)",
        "A failed encoding would become a plausible vector.",
        ("test_fitting.py::test_rows_that_cannot_be_mapped_are_refused_or_left_out",),
    ),
    Fault(
        "levels-of-raw-rows",
        "core/levels.py",
        'return "total" if unit_rows else "relative"',
        'return "total"',
        "Noise would be 100 times smaller on rows of norm 10.",
        ("test_raw_rows.py::test_a_scale_changes_no_share_of_answers",),
    ),
    Fault(
        "advice-on-broken-rows",
        "workflows/audits/auditing.py",
        'if any(warning.get("severity") == "broken" for warning in report["warnings"]):',
        "if False:",
        "A green verdict would stand below a finding that makes every number meaningless.",
        ("test_verdict.py::test_broken_rows_get_no_verdict",),
    ),
    Fault(
        "ruler-not-normalised",
        "workflows/audits/disturbed.py",
        "rows = np.asarray(unit(rows)) if task.normalised else rows",
        "rows = np.asarray(rows)",
        "The ruler would measure the length of vectors that cosine search does not see.",
        ("test_disturbed.py::test_a_mark_is_what_a_search_of_the_disturbed_rows_finds",),
    ),
    Fault(
        "ruler-of-few-rows",
        "workflows/audits/disturbed.py",
        "apart = float(((moves.T @ moves) ** 2).sum()) - own",
        "apart = float(((moves.T @ moves) ** 2).sum())",
        "Noise that is alike in all directions would seem to have few, where few rows are given.",
        ("test_disturbed.py::test_directions_are_those_of_the_covariance_with_few_rows_too",),
    ),
    # --- files in and out -------------------------------------------------------------------------
    Fault(
        "write-not-atomic",
        "data/atomic.py",
        "self.path = self.target.with_name(own_name(self.target.suffix))",
        "self.path = self.target",
        "A write that fails would leave half a file, or none, where a good one was.",
        ("test_io.py::test_atomic_path",),
    ),
    Fault(
        "set-half-renamed",
        "data/atomic.py",
        "undo.append((file.target, _aside(file.target, stack)))",
        "_aside(file.target, stack)",
        "A set whose second rename fails would stand beside the old rest of it.",
        ("test_atomic.py::test_a_rename_that_fails_takes_the_others_back",),
    ),
    Fault(
        "output-over-input",
        "data/overwriting.py",
        "seen.get(_identity(file))",
        "seen.get(file)",
        "A link to an input would be taken as output, and the input lost.",
        ("test_overwriting.py::test_an_output_that_is_an_input_is_refused_and_stays",),
    ),
    Fault(
        "half-set-read",
        "data/file_errors.py",
        "        end_half_set(path)\n",
        "        pass\n",
        "Rows of a new run would be read beside the biases of the one before.",
        ("test_atomic.py::test_rows_and_their_biases_are_read_as_one_set",),
    ),
    Fault(
        "folder-over-notes",
        "data/atomic.py",
        "if more := sorted(_names(self.target) - _names(self.path)):",
        "if more := []:",
        "A model folder would be replaced together with what else a user keeps in it.",
        ("test_atomic.py::test_a_folder_with_anything_else_in_it_is_not_replaced",),
    ),
    Fault(
        "living-file-removed",
        "data/leftovers.py",
        "                flock(handle, LOCK_EX | LOCK_NB)\n",
        "                pass\n",
        "A run would remove the unfinished file of another that is at work.",
        ("test_atomic.py::test_what_a_killed_process_left_is_removed_at_the_next_start",),
    ),
    Fault(
        "embed-replaced-file",
        "encoders/rows_file.py",
        "return [found.st_size, found.st_mtime_ns]",
        "return [0, 0]",
        "Rows of pictures that were replaced would be kept under the names of the new ones.",
        ("test_encoders.py::test_files_replaced_between_two_starts_are_embedded_again",),
    ),
    Fault(
        "journal-not-sealed-anew",
        "data/journal.py",
        "renewed = renewed or new is not None",
        "renewed = new is not None",
        "A run that embeds a picture again could not be gone on with.",
        ("test_encoders.py::test_files_replaced_between_two_starts_are_embedded_again",),
    ),
    Fault(
        "record-of-another-version",
        "data/saved.py",
        "if str(version) == str(SCHEMA):",
        "if version is not None:",
        "A record of an unknown version would be read as one of this.",
        ("test_saved.py::test_another_version_kind_or_encoding_is_refused",),
    ),
    Fault(
        "parquet-null-rows",
        "data/columns.py",
        "        if cells.null_count:",
        "        if cells.null_count > len(cells):",
        "Rows without a vector would be read as if they were not there.",
        ("test_io.py::test_bad_input_is_refused_in_one_sentence",),
    ),
    Fault(
        "labels-out-of-range",
        "data/labels.py",
        "wrong = np.flatnonzero((values < 0) | (values >= size))",
        "wrong = np.flatnonzero((values < 0) | (values > size))",
        "A label one past the last class would pass, and its query count as wrong.",
        ("test_row_checks.py::test_malformed_labels_are_refused",),
    ),
    Fault(
        "embed-changed-list",
        "encoders/rows_file.py",
        "if seen.found != source.fingerprint:",
        "if False:",
        "Rows and names of two lists would be written as of one.",
        ("test_encoders.py::test_a_list_that_changes_while_it_is_read_gives_no_rows",),
    ),
    Fault(
        "export-bias-sign",
        "deploy/export/stores.py",
        "np.vstack([kept, weights / c]),",
        "np.vstack([kept, -weights / c]),",
        "A store would rank by the candidate bias turned round.",
        ("test_export.py::test_inner_product_ranks_as_the_closer_does",),
    ),
    Fault(
        "export-euclidean-number",
        "deploy/export/stores.py",
        "used = 2 * closer.candidate_bias(rows)",
        "used = closer.candidate_bias(rows)",
        "A store that knows distances only would count the candidate bias half.",
        ("test_export.py::test_cosine_and_euclidean_stores_rank_as_the_closer_does",),
    ),
    # --- mixed pools ------------------------------------------------------------------------------
    Fault(
        "mixed-spread-squared",
        "robustness/mixed/levelling.py",
        "variances ** (self.strength / 2)",
        "variances ** self.strength",
        "Modalities would be divided by their variance where standardising is said.",
        ("test_mixed.py::test_scores_are_those_of_the_formula",),
    ),
    Fault(
        "mixed-strength-of-scored-queries",
        "robustness/mixed/measured.py",
        "found = outcomes(pools.fit, searches, k,",
        "found = outcomes(pools.scored, searches, k,",
        "The strength would be chosen on the very queries that the figures are of.",
        ("test_mixed.py::test_scored_queries_decide_nothing",),
    ),
    # --- the laboratory ---------------------------------------------------------------------------
    Fault(
        "lab-gradient-through-norm",
        "lab/gradients.py",
        "return (gradient - (gradient * unit).sum(-1, keepdims=True) * unit) / length",
        "return gradient / length",
        "Unit vectors would be trained by a gradient that leaves the sphere.",
        ("test_gradients.py::test_gradients_are_those_of_finite_differences",),
    ),
    Fault(
        "lab-adam-not-corrected",
        "lab/dynamics.py",
        "slope = mean[name] / (1 - slow**step) / (root + least)",
        "slope = mean[name] / (root + least)",
        "What Adam is said to do to a gap would be what another optimiser does.",
        ("test_dynamics.py::test_steps_by_hand",),
    ),
    Fault(
        "lab-law-of-the-final-gap",
        "lab/laws.py",
        "return g**2 - tau * np.log(g**2) - 2 * variance",
        "return g**2 - tau * np.log(g**2) - variance",
        "The predicted final gap would be too large.",
        ("test_experiments.py::test_final_gap_is_the_published_table",),
    ),
    Fault(
        "lab-one-noise-for-all",
        "lab/harm.py",
        "rng.normal(size=x.shape)",
        "rng.normal(size=(1, x.shape[1]))",
        "Noise that candidates share changes no answer, whatever the gap.",
        ("test_experiments.py::test_consistency_falls_with_the_gap_alone",),
    ),
    # --- the laboratory: monitor and referee ------------------------------------------------------
    Fault(
        "monitor-row-sums",
        "lab/monitor/window.py",
        "rows = (grown / np.maximum(grown.sum(1, keepdims=True), floor)).sum(0)",
        "rows = (grown / np.maximum(grown.sum(1, keepdims=True), floor)).sum(1)",
        "Row sums of a row softmax are 1: every training would look doubly stochastic.",
        ("test_monitor.py::test_batch_values_are_the_softmaxes_own",),
    ),
    Fault(
        "monitor-one-side-along-the-gap",
        "lab/monitor/window.py",
        "along = a.variance_along(gap) + b.variance_along(gap)",
        "along = 2 * a.variance_along(gap)",
        "A gap that closes along the other tower's variance would be called frozen.",
        ("test_monitor.py::test_numbers_are_those_of_all_rows_whatever_the_batches",),
    ),
    Fault(
        "monitor-recall-without-loss",
        "lab/monitor/diagnosis.py",
        "if not (worse and loss[-1] < loss[best]):",
        "if not (worse and loss[-1] > loss[best]):",
        "Recall that falls while the loss falls would go unnamed.",
        ("test_monitor.py::test_each_rule_names_its_case_and_nothing_else",),
    ),
    Fault(
        "referee-sees-what-it-predicts",
        "lab/referee.py",
        "np.moveaxis(part.sum(axis=1, keepdims=True) - part, 2, 0)",
        "np.moveaxis(part.sum(axis=1, keepdims=True) - 0 * part, 2, 0)",
        "Lines would be judged on the recipe that they were fitted on.",
        ("test_referee.py::test_the_left_out_square_is_that_of_lines_fitted_one_by_one",),
    ),
)

GUARD = '''"""Loaded into the tests' process: the package imported is the copy, or nothing runs."""

import os

import pytest


def pytest_configure(config):
    import isthmus

    copy = os.environ["ISTHMUS_COPY"]
    if not os.path.realpath(isthmus.__file__).startswith(os.path.realpath(copy) + os.sep):
        raise pytest.UsageError(f"isthmus was imported from {isthmus.__file__}, not from {copy}")


def pytest_sessionstart(session):
    from hypothesis import Phase, settings

    # a failure is enough; the smallest example takes long to find
    settings.register_profile(
        "found", deadline=None, max_examples=40, database=None,
        phases=(Phase.explicit, Phase.generate),
    )
    settings.load_profile("found")
'''


class Stale(Exception):
    """An entry that does not fit the sources or the tests any more."""


def source_of(fault: Fault) -> str:
    """The text of the fault's file, with ``old`` in it exactly once; Stale otherwise."""
    package = ROOT / "src" / "isthmus"
    path = package / fault.file
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    count = text.count(fault.old)
    if count == 1:
        return text
    if not path.is_file():
        said = f"there is no src/isthmus/{fault.file}"
    else:
        said = f"the old text is in src/isthmus/{fault.file} {count} times, expected once"
    others = [
        other.relative_to(package).as_posix()
        for other in sorted(package.rglob("*.py"))
        if other != path and fault.old in other.read_text(encoding="utf-8")
    ]
    raise Stale(said + (f"; it is in {', '.join(others)}" if others else ""))


def nodes_of(fault: Fault) -> list[str]:
    """The fault's tests as pytest takes them; Stale where a file is gone or has a namesake."""
    found = []
    for test in fault.tests:
        name, _, rest = test.partition("::")
        places = sorted((ROOT / "tests").rglob(name))
        if len(places) != 1:
            raise Stale(f"{len(places)} files below tests are called {name}, expected one")
        function = rest.partition("[")[0].rpartition("::")[2]
        if f"def {function}(" not in places[0].read_text(encoding="utf-8"):
            raise Stale(f"{name} has no test {function}")
        found.append(f"{places[0].relative_to(ROOT).as_posix()}::{rest}")
    return found


def run_tests(nodes: Sequence[str], copy: Path, scratch: Path) -> tuple[int, str]:
    """pytest's exit code on these tests with the package in ``copy``, and its output."""
    scratch.mkdir()
    env = os.environ | {
        "ISTHMUS_COPY": str(copy),
        "PYTHONPATH": os.pathsep.join([str(copy), str(copy.parent)]),
        "HYPOTHESIS_STORAGE_DIRECTORY": str(scratch / "hypothesis"),
        "OPENBLAS_NUM_THREADS": "1",
        "OMP_NUM_THREADS": "1",
        "PYTEST_ADDOPTS": "",
    }
    command = [sys.executable, "-m", "pytest", "-qx", "--tb=line", "-rfE", "-p", "guard",
               "-p", "no:cacheprovider", f"--basetemp={scratch / 'tmp'}", *nodes]  # fmt: skip
    try:
        done = subprocess.run(
            command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=SECONDS
        )
    except subprocess.TimeoutExpired:
        return -1, f"the tests ran for more than {SECONDS} s"
    return done.returncode, (done.stdout + done.stderr).strip()


def failed(output: str) -> str:
    """The first test that failed, as pytest's summary names it."""
    marks = ("FAILED ", "ERROR ")
    lines = [line.partition(" ")[2] for line in output.splitlines() if line.startswith(marks)]
    return lines[0].partition(" - ")[0].removeprefix("tests/") if lines else "?"


def tail(output: str) -> str:
    """The last lines of a long output."""
    return "\n".join(output.splitlines()[-12:])


def planted(clean: Path, fault: Fault, text: str, scratch: Path) -> Path:
    """A copy of the clean ``src`` with the fault in it."""
    copy = scratch / "src"
    shutil.copytree(clean, copy)
    target = copy / "isthmus" / fault.file
    target.write_text(text.replace(fault.old, fault.new), encoding="utf-8")
    shutil.copy(clean.parent / "guard.py", scratch / "guard.py")
    return copy


def try_fault(fault: Fault, clean: Path, work: Path) -> tuple[str, str, float]:
    """(``yes``, ``NO``, ``stale`` or ``broken``, by which test or why not, seconds)."""
    began = perf_counter()
    try:
        text, nodes = source_of(fault), nodes_of(fault)
    except Stale as why:
        return "stale", str(why), 0.0
    scratch = work / fault.name
    scratch.mkdir()
    code, told = run_tests(nodes, planted(clean, fault, text, scratch), scratch / "run")
    shutil.rmtree(scratch, ignore_errors=True)
    spent = perf_counter() - began
    if code == 1:
        return "yes", failed(told), spent
    if code == 0:
        return "NO", f"nothing: {', '.join(fault.tests)} passed", spent
    return "broken", f"the tests did not run (exit code {code})\n{tail(told)}", spent


def try_clean(faults: Sequence[Fault], clean: Path, work: Path) -> tuple[int, str, float]:
    """The tests of all these faults without any fault: exit code, output, seconds."""
    began = perf_counter()
    nodes: list[str] = []
    for fault in faults:
        try:
            nodes += nodes_of(fault)
        except Stale:
            continue
    code, told = run_tests(list(dict.fromkeys(nodes)), clean, work / "clean-run")
    return code, told, perf_counter() - began


def plant(faults: Sequence[Fault]) -> int:
    """Plant the faults, print the table, and return the exit code."""
    began = perf_counter()
    wide = max(len(fault.name) for fault in faults), max(len(fault.file) for fault in faults)
    bad: list[str] = []

    def line(name: str, file: str, by: str, caught: str, seconds: str) -> None:
        print(f"{name:{wide[0]}}  {file:{wide[1]}}  {caught:6}  {seconds:>5}  {by}", flush=True)

    with tempfile.TemporaryDirectory(prefix="isthmus-faults-") as folder:
        work = Path(folder)
        clean = work / "src"
        shutil.copytree(ROOT / "src", clean, ignore=shutil.ignore_patterns("__pycache__"))
        subprocess.run([sys.executable, "-m", "compileall", "-q", str(clean)], check=True)
        (work / "guard.py").write_text(GUARD, encoding="utf-8")
        line("name", "file", "caught by", "caught", "s")
        with ThreadPoolExecutor(AT_ONCE) as pool:
            without = pool.submit(try_clean, faults, clean, work)
            jobs = {pool.submit(try_fault, fault, clean, work): fault for fault in faults}
            for job in as_completed(jobs):
                fault, (caught, told, spent) = jobs[job], job.result()
                line(fault.name, fault.file, told.replace("\n", "\n    "), caught, f"{spent:.1f}")
                if caught != "yes":
                    bad.append(fault.name)
            code, told, spent = without.result()
    sound = code == 0
    what = "all of these tests pass" if sound else f"they fail without a fault\n{tail(told)}"
    line("(no fault)", "", what, "" if sound else "FAILED", f"{spent:.1f}")
    print(
        f"{len(faults) - len(bad)} of {len(faults)} faults caught in {perf_counter() - began:.0f} s"
        + (f"; not: {', '.join(bad)}" if bad else "")
    )
    return 0 if sound and not bad else 1


def listed(faults: Sequence[Fault]) -> int:
    """Say where each fault would be planted; return 1 where one does not fit."""
    stale = 0
    for fault in faults:
        try:
            text = source_of(fault)
            place = f"{fault.file}:{text[: text.index(fault.old)].count(chr(10)) + 1}"
            nodes_of(fault)
        except Stale as why:
            stale += 1
            place = f"STALE: {why}"
        print(f"{fault.name}\n    {place}\n    {fault.why}")
    print(f"{len(faults)} faults" + (f", {stale} stale" if stale else ""))
    return 1 if stale else 0


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description="Plant faults; the tests must notice each.")
    parser.add_argument("names", nargs="*", metavar="NAME", help="faults to plant; all by default")
    parser.add_argument("--list", action="store_true", help="say where each is; plant nothing")
    given = parser.parse_args()
    known = {fault.name: fault for fault in FAULTS}
    unknown = [name for name in given.names if name not in known]
    if unknown:
        parser.error(f"no fault is called '{unknown[0]}'; --list names them")
    faults = [known[name] for name in given.names] or list(FAULTS)
    return listed(faults) if given.list else plant(faults)


if __name__ == "__main__":
    sys.exit(main())
