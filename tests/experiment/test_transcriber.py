"""Live transcription: segments and words of an engine, and the two engines side by side."""

import json
import math

import numpy as np
import pytest

from rnnt_qat.decoding.beam import BeamConfig
from rnnt_qat.decoding.endpoint import EndpointConfig, EndpointRule
from rnnt_qat.decoding.live_driver import SEGMENT_END
from rnnt_qat.decoding.words import WordBuilder
from rnnt_qat.experiment.artefact_engine import ArtefactEngine
from rnnt_qat.experiment.recognizer_engine import RecognizerEngine
from rnnt_qat.experiment.transcriber import DecodedChunk, LiveTranscriber
from rnnt_qat.experiment.transcript_formats import FORMATS, Segment
from tests.experiment import tiny

PIECES = {1: " ", 2: "a", 3: "b", 4: " c", 5: " of the"}
RULES = EndpointConfig(
    (
        EndpointRule(min_trailing_silence_s=0.16, max_relative_cost=0.4),
        EndpointRule(must_contain_speech=False, min_utterance_s=2.4),
    )
)


def tokens(labels, first_frame=0, log_prob=-0.5):
    return [(label, first_frame + i, log_prob) for i, label in enumerate(labels)]


class Script:
    """An engine that hears what it is told to."""

    chunk_samples, sample_rate_hz, frame_s = 100, 1000, 0.01

    def __init__(self, chunks, end):
        self._chunks, self._end = chunks, end

    def start(self):
        self._next = iter(self._chunks)

    def push(self, audio):
        return next(self._next)

    def end(self):
        return self._end

    def piece(self, label):
        return PIECES[label]


def transcribe(chunks, end, size=None):
    pieces = np.array_split(np.zeros(size or 100 * len(chunks), np.int16), 7)
    return list(LiveTranscriber(Script(chunks, end)).transcribe(pieces))


def test_words_have_the_times_and_probabilities_of_their_tokens():
    builder = WordBuilder(PIECES.get, 0.04)
    words = builder.add(tokens([2, 3, 1, 2, 4, 5], 10, -0.5))
    assert [w.text for w in words] == ["ab", "a", "c", "of"]
    assert [(w.start_s, w.end_s) for w in words[:2]] == [(0.4, 0.48), (0.52, 0.56)]
    assert [w.text for w in builder.with_more(tokens([2, 1]))] == ["thea"]
    (last,) = builder.end()
    assert (last.text, last.start_s, last.end_s) == ("the", 0.6, 0.64)
    assert builder.end() == []
    builder.add([(2, 1, -1.0), (3, 5, -0.2)])
    (word,) = builder.end()
    assert word.confidence == pytest.approx(math.exp(-0.6))


def test_a_word_is_final_when_the_next_one_starts():
    chunks = [
        DecodedChunk(tokens([2, 3])),
        DecodedChunk(tokens([1], 12), tokens([2], 14)),
        DecodedChunk([]),
    ]
    one, two, three, last = transcribe(
        chunks, DecodedChunk([*tokens([2], 25), (SEGMENT_END, 30, -9.0)])
    )
    assert (one.words, one.pending) == ((), "ab")
    assert [w.text for w in two.words] == ["ab"]
    assert (two.pending, three.pending) == ("a", "")
    assert [w.text for w in last.words] == ["a"]
    assert [t.final for t in (one, two, three, last)] == [False, False, False, True]
    assert (last.start_s, last.end_s, last.seconds) == (0.0, 0.3, 0.3)


def test_segments_end_within_a_chunk_and_empty_ones_are_not_told():
    end = [(SEGMENT_END, 4, -1.0)]
    chunks = [
        DecodedChunk([*tokens([2]), *end, (SEGMENT_END, 6, 0.0), *tokens([3, 1], 7)]),
        DecodedChunk([]),
    ]
    found = transcribe(chunks, DecodedChunk([(SEGMENT_END, 20, 0.0)]))
    first, open_, _, last = found
    assert ([w.text for w in first.words], first.start_s, first.end_s) == (["a"], 0.0, 0.04)
    assert ([w.text for w in open_.words], open_.final) == (["b"], False)
    assert (last.words, last.final, last.start_s, last.end_s) == ((), True, 0.06, 0.2)
    (silent,) = transcribe([], DecodedChunk([(SEGMENT_END, 0, 0.0)]), size=0)
    assert (silent.final, silent.words, silent.seconds) == (True, (), 0.0)


def test_alternatives_come_with_their_segment():
    chunk = DecodedChunk(
        [*tokens([2]), (SEGMENT_END, 4, -1.0)], (), [[([2], -1.0), ([2, 4], -2.0)]]
    )
    final = transcribe([chunk], DecodedChunk([(SEGMENT_END, 10, 0.0)]))[0]
    assert [(a.text, a.log_prob) for a in final.alternatives] == [("a", -1.0), ("a c", -2.0)]


def test_formats():
    chunk = DecodedChunk([*tokens([2, 3, 4]), (SEGMENT_END, 10, -3.0)], (), [[([2, 3, 4], -3.0)]])
    final = transcribe([chunk], DecodedChunk([]))[0]
    segment = Segment("x.wav", final.words, final)
    assert FORMATS["text"]().segment(segment) == "x.wav\tab c\nx.wav\t#1 (-3.00)\tab c\n"
    record = json.loads(FORMATS["jsonl"]().segment(segment))
    assert record["words"][0] == {"text": "ab", "start_s": 0, "end_s": 0.02, "confidence": 0.6065}
    assert (record["text"], record["start_s"], record["end_s"]) == ("ab c", 0.0, 0.1)
    assert record["alternatives"] == [{"text": "ab c", "log_prob": -3.0}]
    assert FORMATS["srt"]().segment(segment) == "1\n00:00:00,000 --> 00:00:00,030\nab c\n\n"
    vtt = FORMATS["vtt"]()
    assert vtt.header() == "WEBVTT\n\n"
    words = tuple(final.words[0] for _ in range(40))
    cues = vtt.segment(Segment("x.wav", words, final)).strip().split("\n\n")
    assert len(cues) == 2
    assert cues[1].startswith("2\n00:00:00.000 --> ")


def found_by(engine, audio):
    """Words with rounded confidences, and the segments' limits."""
    found = list(LiveTranscriber(engine).transcribe(np.array_split(audio, 11)))
    words = [(w.text, w.start_s, w.end_s) for t in found for w in t.words]
    confidences = [w.confidence for t in found for w in t.words]
    return words, confidences, [(t.start_s, t.end_s) for t in found if t.final]


@pytest.mark.slow
@pytest.mark.parametrize(
    "endpoint",
    [
        pytest.param(None, marks=pytest.mark.exhaustive),
        RULES,
        pytest.param(EndpointConfig(RULES.rules, True), marks=pytest.mark.exhaustive),
    ],
)
def test_the_artefacts_player_says_what_the_model_says_for_every_chunk(endpoint):
    audio = tiny.noise(12.3)
    search = tiny.recognizer().config.evaluation.search
    want = found_by(RecognizerEngine(tiny.recognizer(), search, 960.0, endpoint), audio)
    assert len(want[0]) > 10
    assert len(want[2]) > 4 or endpoint is None
    for chunk_ms in (80.0, 960.0):
        got = found_by(ArtefactEngine(tiny.artefact(), chunk_ms, endpoint), audio)
        assert got[0] == want[0]
        assert got[2] == want[2]
        np.testing.assert_allclose(got[1], want[1], rtol=1e-4)
    small = found_by(RecognizerEngine(tiny.recognizer(), search, 80.0, endpoint), audio)
    assert (small[0], small[2]) == (want[0], want[2])


@pytest.mark.slow
@pytest.mark.parametrize(
    "chunk_ms", [480.0, *(pytest.param(ms, marks=pytest.mark.exhaustive) for ms in (80.0, 960.0))]
)
def test_alternatives_begin_with_what_was_handed_over(chunk_ms):
    """That they do not depend on the chunks is a test of the search (test_live_driver.py)."""
    engine = RecognizerEngine(tiny.recognizer(), BeamConfig(3, 2), chunk_ms, RULES, 3)
    said, numbers = [], []
    for transcript in LiveTranscriber(engine).transcribe([tiny.noise(6.0)]):
        said += [word.text for word in transcript.words]
        if transcript.final:
            assert transcript.alternatives[0].text == " ".join(said)
            log_probs = [a.log_prob for a in transcript.alternatives]
            assert log_probs == sorted(log_probs, reverse=True)
            numbers.append(len(log_probs))
            said = []
    assert max(numbers) == 3


def test_chunks_that_cut_a_frame_are_refused():
    with pytest.raises(ValueError, match=r"chunk_ms=100 is not a multiple .* the nearest is 80"):
        ArtefactEngine(tiny.artefact(), 100.0)
    search = tiny.recognizer().config.evaluation.search
    with pytest.raises(ValueError, match="chunk_ms=100 is not a multiple"):
        RecognizerEngine(tiny.recognizer(), search, 100.0)
