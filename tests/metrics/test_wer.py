import pytest

from rnnt_qat.metrics.wer import ErrorCounts, character_errors, word_errors


@pytest.mark.parametrize(
    ("reference", "hypothesis", "want"),
    [
        ("a b c", "a b c", (0, 0, 0, 3)),
        ("a b c", "a x c", (1, 0, 0, 3)),
        ("a b c", "a c", (0, 1, 0, 3)),
        ("a b c", "a b x c y", (0, 0, 2, 3)),
        ("a b c", "", (0, 3, 0, 3)),
        ("", "a b", (0, 0, 2, 0)),
        ("", "", (0, 0, 0, 0)),
        ("the cat sat", "a cat sat down", (1, 0, 1, 3)),
        ("  spaced   out ", "spaced out", (0, 0, 0, 2)),
        ("a\tb\nc", "a b c", (0, 0, 0, 3)),
        ("a\u00a0b\u3000c", "a b x", (1, 0, 0, 3)),
        ("gro\u0308\u00dfe", "gr\u00f6\u00dfe", (0, 0, 0, 1)),
        ("привет мир", "привет", (0, 1, 0, 2)),
    ],
)
def test_known_cases(reference, hypothesis, want):
    assert word_errors([reference], [hypothesis]) == [ErrorCounts(*want)]


def test_characters():
    assert character_errors(["abc d", ""], ["abd  d", "x"]) == [
        ErrorCounts(1, 0, 0, 5),
        ErrorCounts(0, 0, 1, 0),
    ]


def test_the_corpus_is_summed_not_averaged():
    counts = word_errors(["a", "a b c d", ""], ["b", "a b c d", "x"])
    total = ErrorCounts.total(counts)
    assert total == ErrorCounts(1, 0, 1, 5)
    assert total.rate == 2 / 5


def test_no_reference_word_has_no_rate():
    with pytest.raises(ValueError, match="hold no word"):
        _ = ErrorCounts.total(word_errors([""], ["a"])).rate


def test_lengths_must_agree():
    with pytest.raises(ValueError, match="2 references but 1 hyp"):
        word_errors(["a", "b"], ["a"])
    assert word_errors([], []) == []
