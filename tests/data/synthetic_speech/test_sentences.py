import collections

from data.synthetic_speech.sentences import Sentence, split_of


def test_split_sizes_follow_the_fractions_and_a_sentence_keeps_its_split():
    texts = [f"sentence number {i}" for i in range(4000)]
    splits = collections.Counter(split_of(text, 0.1, 0.2) for text in texts)
    assert abs(splits["validation"] - 400) < 80
    assert abs(splits["test"] - 800) < 100
    assert split_of("please hold", 0.05, 0.08) == split_of("please hold", 0.05, 0.08)


def test_letters_and_punctuation_reach_the_synthesizer_but_not_the_transcript():
    sentence = Sentence.from_spoken("press one for A, or B.")
    assert sentence == Sentence("press one for A, or B.", "press one for a or b")
