from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from curate.evaluation.agreement import (
    confusion,
    gap_confirmation,
    kendall_tau,
    krippendorff_alpha,
)
from curate.methods.concord import cohen_kappa

SCORES = Path(__file__).parents[2] / "../shared/data/prometheus_gpt4x3/responses.parquet"
N = np.nan
KRIPPENDORFF = [  # three coders, fifteen units, values missing
    [N, N, N, N, N, 3, 4, 1, 2, 1, 1, 3, 3, N, 3],
    [1, N, 2, 1, 3, 3, 4, 3, N, N, N, N, N, N, N],
    [N, N, 2, 1, 3, 4, 4, N, 2, 1, 1, 3, 3, N, 4],
]


def test_cohen_kappa_of_worked_tables():
    assert cohen_kappa([[20, 5], [10, 15]]) == pytest.approx(0.4)
    table = [[5, 2, 0], [1, 6, 2], [0, 1, 3]]
    assert cohen_kappa(table, "linear") == pytest.approx(0.620253, abs=1e-6)
    assert cohen_kappa(table, "quadratic") == pytest.approx(0.723502, abs=1e-6)


def test_kappa_is_low_where_agreement_is_high_but_one_class_is_nearly_all():
    table = [[95, 2], [2, 1]]
    assert np.trace(table) / np.sum(table) == 0.96
    assert cohen_kappa(table) < 0.4


@pytest.mark.parametrize(
    ("level", "alpha"), [("nominal", 0.691358), ("ordinal", 0.806721), ("interval", 0.810845)]
)
def test_krippendorff_alpha_of_the_published_example(level, alpha):
    assert krippendorff_alpha(KRIPPENDORFF, level) == pytest.approx(alpha, abs=1e-6)


def test_alpha_of_nothing_comparable_is_no_number():
    assert np.isnan(krippendorff_alpha([[1.0, N], [N, 2.0]]))
    assert np.isnan(krippendorff_alpha([[1.0, 1.0], [1.0, 1.0]]))


def test_kendall_tau_with_ties():
    assert kendall_tau([1, 2, 2, 3], [1, 2, 3, 3]) == pytest.approx(0.8)


def test_confusion_leaves_out_missing_votes():
    assert confusion([1, -1, N, 0], [1, 1, 1, N], [1, 0, -1]).tolist() == [
        [1, 0, 0],
        [0, 0, 0],
        [1, 0, 0],
    ]


def test_gap_confirmation_counts_strict_agreement_and_refuses_to_divide_by_nothing():
    scores = [[[5, 4, 4], [3, 3, 4], [3, 4, 4]]]  # gaps of 2: confirmed, and a tie
    assert gap_confirmation(scores, 2) == 0.5
    with pytest.raises(ValueError, match="no pair"):
        gap_confirmation(scores, 3)
    with pytest.raises(ValueError, match="k >= 2"):
        gap_confirmation([[1, 2]], 1)


def test_gap_confirmation_on_three_independent_gpt4_scores():
    if not SCORES.exists():
        pytest.skip("the Prometheus GPT-4 scores are not beside this repository")
    table = pq.read_table(SCORES).sort_by([("bench", "ascending"), ("idx", "ascending")])
    scores = np.array(table["gpt4_scores"].to_pylist()).reshape(160, 4, 3)
    assert round(100 * gap_confirmation(scores, 1), 1) == 68.6
    assert round(100 * gap_confirmation(scores, 2), 1) == 92.7
