from rnnt_qat.metrics.alignment import align_characters, align_words
from rnnt_qat.metrics.wer import character_errors, word_errors

REFERENCES = ["the cat sat", "a  dog ran past", "", "night"]
HYPOTHESES = ["the bat sat down", "dog ran fast", "oh", ""]


def test_edits_are_those_that_are_counted():
    for align, count in ((align_words, word_errors), (align_characters, character_errors)):
        for alignment, errors in zip(
            align(REFERENCES, HYPOTHESES), count(REFERENCES, HYPOTHESES), strict=True
        ):
            operations = alignment.operations
            assert operations.count("s") == errors.substitutions
            assert operations.count("d") == errors.deletions
            assert operations.count("i") == errors.insertions
            assert len(alignment.reference) == errors.reference_length


def test_pairs():
    alignment = align_words(REFERENCES[:1], HYPOTHESES[:1])[0]
    assert list(alignment.pairs()) == [
        ("e", "the", "the"),
        ("s", "cat", "bat"),
        ("e", "sat", "sat"),
        ("i", "", "down"),
    ]
    assert align_words([], []) == []
