import itertools

import pytest

from data.synthetic_speech.config import SyntheticSpeechConfig
from data.synthetic_speech.held_out import HeldOutPhrases
from data.synthetic_speech.plan import make_plan
from data.synthetic_speech.sentences import GrammarTexts, Sentence
from rnnt_qat.input_pipeline.corpus import CorpusError

CONFIG = SyntheticSpeechConfig(hours=0.3, validation_hours=0.05, test_hours=0.05)
NOTHING = HeldOutPhrases.from_phrases([])


@pytest.fixture(scope="module")
def plan():
    return make_plan(CONFIG, GrammarTexts(), HeldOutPhrases.from_file())


class FewTexts:
    def sentences(self, rng):
        words = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
        return itertools.cycle(Sentence(word, word) for word in words)

    def fingerprint(self):
        return {}


def test_no_sentence_and_no_speaker_straddles_splits(plan):
    for part in (lambda t: t.sentence.text, lambda t: t.speaker.name):
        groups = [{part(take) for take in takes} for takes in plan.takes.values()]
        for a, b in itertools.combinations(groups, 2):
            assert not a & b


def test_no_take_is_said_twice(plan):
    pairs = [(take.sentence.text, take.speaker.name) for take in plan.takes["train"]]
    assert len(set(pairs)) == len(pairs)
    for split in ("validation", "test"):
        texts = [take.sentence.text for take in plan.takes[split]]
        assert len(set(texts)) == len(texts)


def test_nothing_held_out_is_said_and_what_was_drawn_is_counted(plan):
    held_out = HeldOutPhrases.from_file()
    assert len(held_out) > 100
    assert not any(held_out.forbids(t.sentence.text) for ts in plan.takes.values() for t in ts)
    # Against phrases that the plan does say, so that the test can fail.
    said = [take.sentence.text for take in plan.takes["train"][:40]]
    other = make_plan(CONFIG, GrammarTexts(), HeldOutPhrases.from_phrases(said))
    assert not {take.sentence.text for take in other.takes["train"]} & set(said)
    assert other.left_out["says a held-out phrase"] >= len(set(said))


def test_splits_have_the_hours_asked_for_by_the_voices_mean_rates(plan):
    for split, hours in (("train", 0.3), ("validation", 0.05), ("test", 0.05)):
        seconds = sum(take.expected_duration_s() for take in plan.takes[split])
        assert 0 <= seconds - 3600 * hours < 15


def test_the_plan_follows_from_the_seed(plan):
    again = make_plan(CONFIG, GrammarTexts(), HeldOutPhrases.from_file())
    assert again == plan


def test_more_hours_begin_with_the_same_takes(plan):
    longer = make_plan(
        SyntheticSpeechConfig(hours=0.4, validation_hours=0.05, test_hours=0.05),
        GrammarTexts(),
        HeldOutPhrases.from_file(),
    )
    number = len(plan.takes["train"])
    assert longer.takes["train"][:number] == plan.takes["train"]
    assert longer.takes["test"] == plan.takes["test"]


def test_voices_speak_as_often_as_they_are_named(plan):
    share = sum(t.speaker.voice == "hibari_us" for t in plan.takes["train"])
    assert share / len(plan.takes["train"]) == pytest.approx(0.5, abs=0.08)


def test_texts_that_run_out_are_an_error():
    with pytest.raises(CorpusError, match=r"0\.3 h are asked for; lower that"):
        make_plan(CONFIG, FewTexts(), NOTHING)
