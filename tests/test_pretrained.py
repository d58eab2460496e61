"""The recognizers that come with the repository."""

import pathlib
import subprocess
import sys

import jiwer
import numpy as np
import pytest
import soundfile

from data.audio import to_corpus_audio
from data.synthetic_speech.voices import load_voice
from rnnt_qat.artefact import artefact
from rnnt_qat.experiment.recognizer import Recognizer
from rnnt_qat.input_pipeline.corpus import SAMPLE_RATE_HZ

ROOT = pathlib.Path(__file__).parents[1]
PRETRAINED = ROOT / "data/pretrained"
FLOAT, W8, W4 = (PRETRAINED / name for name in ("assistant", "assistant_w8", "assistant_w4"))
DIGITS, DIGITS_W8 = (PRETRAINED / name for name in ("digits", "digits_w8"))
ALL = (FLOAT, W8, W4, DIGITS, DIGITS_W8)
MEGABYTE = 10**6


def size(folder):
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def test_they_are_small():
    assert all(size(folder) <= 8 * MEGABYTE for folder in ALL)
    assert size(PRETRAINED) <= 20 * MEGABYTE


@pytest.mark.parametrize("folder", ALL)
def test_they_name_nothing_of_the_machine_that_made_them(folder):
    for path in folder.glob("*.json"):
        text = path.read_text("utf-8")
        assert not any(f'"{root}' in text for root in ("/tmp", "/home", "/work", "/root"))


@pytest.mark.parametrize("folder", [FLOAT, DIGITS])
def test_those_in_floating_point_are_read_whole(folder):
    recognizer = Recognizer.load(folder)
    assert recognizer.policy.name == "float32"
    assert recognizer.config.initialize_from == ""


@pytest.mark.parametrize(
    ("folder", "policy", "parent"), [(W8, "", FLOAT), (W4, "_w4", FLOAT), (DIGITS_W8, "", DIGITS)]
)
def test_the_chips_is_the_same_network_in_integers(folder, policy, parent):
    read, whole = artefact.load(folder), Recognizer.load(parent)
    assert read.origin["policy"] == f"ethos_u_8x8_16{policy}"
    values = {len(np.unique(layer.w_ih)) for layer in read.model.encoder.layers}
    assert max(values) <= 15 if policy else min(values) > 100
    assert len(read.model.encoder.layers) == whole.config.model.encoder.num_layers
    assert read.pieces[1:] == tuple(map(whole.tokenizer.piece, range(1, 29)))


@pytest.mark.slow
def test_it_transcribes_from_a_clone(tmp_path):
    spoken = "please enter your password."
    audio = load_voice("hibari_us").synthesize(spoken, speed=0.9, pitch=1.0, seed=0)
    rate = load_voice("hibari_us").sample_rate_hz
    soundfile.write(tmp_path / "a.wav", to_corpus_audio(0.3 * audio[:, None], rate), SAMPLE_RATE_HZ)
    command = (sys.executable, "-m", "experiments.transcribe", f"--model={FLOAT}")
    done = subprocess.run(
        [*command, f"--audio={tmp_path / 'a.wav'}"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    heard = done.stdout.strip().splitlines()[-1].rpartition("\t")[2].rpartition(": ")[2]
    assert jiwer.cer("please enter your password", heard.strip()) < 0.3, heard
