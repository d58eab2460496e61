"""The binary: files, pipes, formats, and one line for each thing that a user can mend."""

import io
import json
import os
import signal
import subprocess
import sys
import types

import pytest
import soundfile
from absl import flags
from absl.testing import flagsaver

from experiments import transcribe
from experiments.interrupt import Interrupt
from rnnt_qat.artefact.artefact import save
from rnnt_qat.decoding.beam import BeamConfig
from rnnt_qat.decoding.live_driver import SEGMENT_END
from rnnt_qat.experiment.transcriber import DecodedChunk, LiveTranscriber
from rnnt_qat.experiment.transcript_formats import FORMATS
from rnnt_qat.infra.console import Console
from tests.experiment import tiny


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    tiny.recognizer().save(folder / "model")
    save(tiny.artefact(), folder / "artefact")
    return folder


@pytest.fixture
def audio(tmp_path):
    path = tmp_path / "a.wav"
    soundfile.write(path, tiny.noise(6.0), 16_000)
    return path


@pytest.fixture(autouse=True)
def parsed(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    flags.FLAGS.mark_as_parsed()
    yield
    flags.FLAGS.unparse_flags()


def run(models, audio, **given):
    given = {"model": str(models / "model"), "chunk_ms": 240.0} | given
    with flagsaver.flagsaver(audio=[str(a) for a in audio], **given):
        return transcribe.main()


@pytest.mark.slow
def test_model_and_artefact_files_and_pipes_say_the_same(models, audio, monkeypatch, capsys):
    content = audio.read_bytes()
    assert run(models, [audio]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    name, text = line.split("\t")
    assert name == str(audio)
    assert len(text.split()) > 3
    for piped in (content, content[44:]):  # with its header, and samples alone
        monkeypatch.setattr(sys, "stdin", types.SimpleNamespace(buffer=io.BytesIO(piped)))
        assert run(models, ["-"], endpoint="off") == 0
        assert capsys.readouterr().out == f"-\t{text}\n"
    artefact = {"model": str(models / "artefact")}
    assert run(models, [audio], **artefact) == 0
    assert capsys.readouterr().out == f"{line}\n"
    assert run(models, [audio], format="jsonl", **artefact) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["text"] == text
    assert [w["text"] for w in record["words"]] == text.split()
    assert all(0 < w["confidence"] <= 1 for w in record["words"])
    assert run(models, [audio], format="vtt", **artefact) == 0
    assert capsys.readouterr().out.startswith("WEBVTT\n\n1\n00:00:0")


@pytest.mark.slow
def test_the_others_are_transcribed_after_a_bad_file(models, audio, tmp_path, capsys):
    bad = tmp_path / "bad.wav"
    bad.write_text("no audio")
    files = [tmp_path / "none.wav", bad, audio]
    assert run(models, files, model=str(models / "artefact")) == 1
    printed = capsys.readouterr()
    assert [line.split("\t")[0] for line in printed.out.splitlines()] == [str(audio)]
    assert f"--audio={tmp_path / 'none.wav'}: there is no such file" in printed.err
    assert f"--audio={bad}: no audio" in printed.err


@pytest.mark.slow
def test_rules_of_a_file_cut_a_recording(models, audio, tmp_path, capsys):
    rules = tmp_path / "rules.json"
    rules.write_text('{"rules": [{"must_contain_speech": false, "min_utterance_s": 1.6}]}')
    artefact = str(models / "artefact")
    assert run(models, [audio], model=artefact, endpoint=str(rules), format="jsonl") == 0
    records = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [r["start_s"] for r in records] == [0.0, 1.6, 3.2, 4.8]


@pytest.mark.parametrize(
    ("given", "audio", "message"),
    [
        ({}, ["-", "-"], "can be read once"),
        ({"chunk_ms": 0.0}, ["a.wav"], "--chunk_ms=0 must be above 0"),
        ({"chunk_ms": 100.0}, ["a.wav"], "--chunk_ms: chunk_ms=100 is not a multiple"),
        ({"nbest": 3, "beam_size": 2}, ["a.wav"], "--nbest=3: give --beam_size of at least"),
        ({"format": "srt"}, ["a.wav", "b.wav"], "--format=srt is for one recording"),
        ({"endpoint": "sometimes"}, ["a.wav"], "--endpoint=sometimes: not live, on, off or a JSON"),
        ({"beam_size": 2, "nbest": 1}, ["a.wav"], "--beam_size: an artefact is decoded greedily"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(models, given, audio, message):
    with pytest.raises(flags.Error) as caught:
        run(models, audio, model=str(models / "artefact"), **given)
    assert message in str(caught.value)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("--chunk_ms=80,abc", "--chunk_ms=80,abc: give milliseconds"),
        ("--beam_size=-2", "--beam_size=-2"),
    ],
)
def test_evaluate_refuses_in_one_line(flag, message):
    command = [sys.executable, "-m", "experiments.evaluate", "--workdir=none", flag]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 2
    assert message in run.stderr
    assert "Traceback" not in run.stderr


def test_programs_of_any_size_are_kept_for_the_next_call(models, tmp_path, monkeypatch):
    kept = []
    monkeypatch.setattr("experiments.flags.keep_programs", kept.append)
    assert run(models, [tmp_path / "none.wav"], model=str(models / "artefact")) == 1
    assert kept == [0.0]


class CountingEngine:
    """An engine of 8 kHz that counts its samples and emits ``words`` words per chunk."""

    chunk_samples, sample_rate_hz, frame_s = 160, 8_000, 0.01
    piece = staticmethod(" a".__getitem__)
    words = samples = chunks = 0

    def start(self):
        pass

    def push(self, samples):
        self.samples += len(samples)
        self.chunks += 1
        word = [(1, 2 * self.chunks, -0.1), (0, 2 * self.chunks, -0.1)]
        return DecodedChunk(word * self.words)

    def end(self):
        return DecodedChunk([(SEGMENT_END, 2 * self.chunks, 0.0)])

    def transcribe(self, audio, form):
        """Returns the partial transcripts of a file; prints the final one."""
        partials = io.StringIO()
        console = Console(partials, period_seconds=0.0)
        with Interrupt() as interrupt:
            transcriber = LiveTranscriber(self)
            transcribers = types.SimpleNamespace(
                of=lambda name: transcriber, compile=lambda *_: None
            )
            transcribe._transcribe(str(audio), transcribers, FORMATS[form](), console, interrupt)
        return partials.getvalue().splitlines()


def test_the_beam_and_its_readings_reach_the_search(models, tmp_path, monkeypatch):
    asked = []

    def engine(model, *chosen):
        asked.append(chosen)
        return CountingEngine()

    monkeypatch.setattr(transcribe, "RecognizerEngine", engine)
    assert run(models, [tmp_path / "none.wav"], beam_size=3, nbest=2) == 1
    assert asked == [(BeamConfig(beam_size=3), 240.0, None, 2)]


def test_a_file_is_heard_at_the_rate_of_the_model(audio, capsys):
    engine = CountingEngine()
    engine.transcribe(audio, "jsonl")
    assert engine.samples == 6 * 8_000
    assert json.loads(capsys.readouterr().out)["end_s"] == 6.0


def test_partial_transcripts_of_a_long_recording_stay_short(audio, capsys):
    engine = CountingEngine()
    engine.words = 1
    lines = engine.transcribe(audio, "text")
    assert lines[-1].split("s  ")[1] == " ".join(["...", *"a" * 16])
    assert len(lines) <= 18
    assert len(capsys.readouterr().out.split()) == 1 + 300


def test_partial_transcripts_fit_the_terminal():
    said = [types.SimpleNamespace(text=word) for word in ("one", "two", "three")]
    assert transcribe._end_of(said, "fo", 100) == "one two three fo"
    assert transcribe._end_of(said, "fo", 16) == "... three fo"
    assert transcribe._end_of(said, "", 1) == "..."


@pytest.mark.slow
def test_the_programs_are_compiled_once_and_only_for_audio(models, audio, tmp_path, monkeypatch):
    compiled = []
    compiles = transcribe.RecognizerEngine.compile
    monkeypatch.setattr(
        transcribe.RecognizerEngine, "compile", lambda self: compiled.append(compiles(self))
    )
    assert run(models, [tmp_path / "none.wav"]) == 1
    assert compiled == []
    assert run(models, [audio, audio]) == 0
    assert compiled == [None]


def test_an_interrupt_ends_the_stream_while_it_waits_and_while_it_computes():
    def pieces():
        yield 1
        os.kill(os.getpid(), signal.SIGINT)  # while the next piece is waited for
        yield 2

    with Interrupt() as interrupt:
        assert list(interrupt.until(pieces())) == [1]
    assert interrupt.came
    with Interrupt() as interrupt:
        heard = []
        for piece in interrupt.until(iter([1, 2, 3])):
            heard.append(piece)
            if piece == 2:
                os.kill(os.getpid(), signal.SIGINT)  # while a piece is computed
        assert heard == [1, 2]
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.slow
def test_ctrl_c_prints_what_was_said(models, monkeypatch, capsys):
    class Microphone:
        """Six seconds of audio, then Ctrl-C."""

        content = tiny.noise(6.0).tobytes()

        def read1(self, size):
            part, self.content = self.content[:size], self.content[size:]
            if not part:
                os.kill(os.getpid(), signal.SIGINT)
            return part

        read = read1

    monkeypatch.setattr(sys, "stdin", types.SimpleNamespace(buffer=Microphone()))
    assert run(models, ["-"], model=str(models / "artefact"), endpoint="off") == 130
    (line,) = capsys.readouterr().out.splitlines()
    assert len(line.split()) > 3
