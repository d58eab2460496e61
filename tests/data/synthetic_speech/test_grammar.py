import collections
import itertools
import random

import pytest

from data.synthetic_speech.grammar import GRAMMARS, Grammar, GrammarError
from data.synthetic_speech.sentences import PAUSE, GrammarTexts
from data.text import normalise


def draw(text, number, seed=0):
    return list(itertools.islice(Grammar(text).sentences(random.Random(seed)), number))


def test_alternatives_come_as_often_as_their_weights_say():
    said = draw("sentence\n  3| often\n  rarely\n", 400)
    assert collections.Counter(said) == {"often": 300, "rarely": 100}


def test_no_alternative_is_met_twice_before_all_are_met_once():
    words = [f"word{i}" for i in range(50)]
    said = draw("sentence\n" + "".join(f"  {word}\n" for word in words), 100)
    assert sorted(said[:50]) == sorted(said[50:]) == sorted(words)
    assert said[:50] != said[50:]


def test_optional_parts_are_said_half_of_the_time():
    said = collections.Counter(draw("sentence\n  come[ in][, please].\n", 2000))
    assert said.keys() == {"come.", "come in.", "come, please.", "come in, please."}
    assert all(400 < number < 600 for number in said.values())


@pytest.mark.parametrize(
    ("noun", "expected"),
    [
        ("message", "a message"),
        ("urgent one", "an urgent one"),
        ("user", "a user"),
        ("unidentified user", "an unidentified user"),
        ("uniform", "a uniform"),
        ("one", "a one"),
        ("hash", "a hash"),
        ("M", "an M"),
        ("U", "a U"),
    ],
)
def test_articles_agree_with_the_next_sound(noun, expected):
    assert draw(f"sentence\n  a {{noun}}\nnoun\n  {noun}\n", 1) == [expected]


def test_empty_alternatives_leave_no_loose_space_or_comma():
    assert draw("sentence\n  {please} go[, now].\nplease\n  2|\n", 3)[0] in ("go.", "go, now.")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sentence\n  {noun}\n", "'sentence' uses undefined 'noun'"),
        ("sentence\n  a\nnoun\n  b\n", "nothing uses: noun"),
        ("sentence\n  {a}\na\n  {b}\nb\n  so {a}\n", "recur: sentence -> a -> b -> a"),
        ("sentence\n  a\nsentence\n  b\n", "g:3: rule 'sentence' is defined twice"),
        ("noun\n  a\n", "no rule 'sentence'"),
        ("sentence\n", "'sentence' has no alternatives"),
        ("  a\nsentence\n  a\n", "g:1: an alternative before the first rule"),
        ("sentence\n  0| a\n", "g:2: weight 0"),
        ("sentence\n  {a b}\n", "g:2: cannot read"),
        ("sentence\n  [a\n", "g:2: '\\[' is never closed"),
        ("sentence\n  a]\n", "g:2: ']' without"),
        ("two words\n  a\n", "g:1: 'two words' is not a rule name"),
    ],
)
def test_a_malformed_grammar_is_refused_where_it_is_wrong(text, message):
    with pytest.raises(GrammarError, match=message):
        Grammar(text, "g")


def test_every_sentence_of_the_prompt_grammar_has_one_reading():
    for sentence in itertools.islice(GrammarTexts().sentences(random.Random(3)), 3000):
        assert sentence.text == normalise(sentence.spoken)
        assert 1 <= len(sentence.text.split()) <= 120
        assert not any(mark in sentence.spoken for mark in "{}[]|")


def test_the_prompt_grammar_repeats_itself_little():
    texts = [s.text for s in itertools.islice(GrammarTexts().sentences(random.Random(4)), 3000)]
    assert len(set(texts)) > 2500


def test_an_hour_says_nearly_every_word_of_the_grammar():
    said = {
        word
        for sentence in itertools.islice(GrammarTexts().sentences(random.Random(5)), 2000)
        for word in sentence.text.split()
    }
    words = {part for word in Grammar.from_file().words() for part in normalise(word).split()}
    assert len(words - said) < 0.03 * len(words)


def test_single_digits_have_a_pause_between_any_two():
    texts = GrammarTexts(GRAMMARS["single_digits"]).sentences(random.Random(0))
    words = set()
    for sentence in itertools.islice(texts, 300):
        parts = sentence.spoken.split(PAUSE)
        assert 3 <= len(parts) <= 7
        assert [normalise(part) for part in parts] == sentence.text.split()
        words.update(parts)
    assert len(words) == 11
