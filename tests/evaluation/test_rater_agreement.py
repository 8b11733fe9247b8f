import numpy as np
import pytest

from curate.evaluation.agreement import confusion, krippendorff_alpha
from curate.methods.concord import cohen_kappa

N = np.nan
KRIPPENDORFF = [  # three coders, fifteen units, values missing
    [N, N, N, N, N, 3, 4, 1, 2, 1, 1, 3, 3, N, 3],
    [1, N, 2, 1, 3, 3, 4, 3, N, N, N, N, N, N, N],
    [N, N, 2, 1, 3, 4, 4, N, 2, 1, 1, 3, 3, N, 4],
]


def test_cohen_kappa_of_a_worked_table():
    assert cohen_kappa([[20, 5], [10, 15]]) == pytest.approx(0.4)


def test_kappa_is_low_where_agreement_is_high_but_one_class_is_nearly_all():
    table = [[95, 2], [2, 1]]
    assert np.trace(table) / np.sum(table) == 0.96
    assert cohen_kappa(table) < 0.4


def test_krippendorff_alpha_of_the_published_example():
    assert krippendorff_alpha(KRIPPENDORFF) == pytest.approx(0.691358, abs=1e-6)


def test_alpha_of_nothing_comparable_is_no_number():
    assert np.isnan(krippendorff_alpha([[1.0, N], [N, 2.0]]))
    assert np.isnan(krippendorff_alpha([[1.0, 1.0], [1.0, 1.0]]))
    assert np.isnan(krippendorff_alpha([[N, N], [N, N]]))


def test_confusion_leaves_out_missing_votes():
    assert confusion([1, -1, N, 0], [1, 1, 1, N], [1, 0, -1]).tolist() == [
        [1, 0, 0],
        [0, 0, 0],
        [1, 0, 0],
    ]
