"""What the trainer sees of a recognizer."""

import types

from rnnt_qat.experiment.recognizer_under_policy import _report


def test_progress_of_one_test_set_is_a_part_of_that_of_all():
    sets = [types.SimpleNamespace(num_batches=n, programs_left=n - 1) for n in (2, 3, 4)]
    calls = []
    for number in range(3):
        _report(sets, number, lambda *call: calls.append(call), 1, sets[number].num_batches, 0)
    assert calls == [(1, 9, 2 + 3), (2 + 1, 9, 3), (2 + 3 + 1, 9, 0)]
