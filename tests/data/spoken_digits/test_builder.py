import numpy as np
import pytest
import soundfile

from data.skips import Cause, SkipReport
from data.spoken_digits.builder import SpokenDigits
from data.spoken_digits.folder import DIGITS, FolderDigits, list_digits
from data.spoken_digits.tfds_source import TfdsDigits, convert
from rnnt_qat.input_pipeline.corpus import CorpusError, open_corpus
from tests.data.conftest import tone, write_chapter

SPEAKERS = ("george", "jackson", "lucas", "nicolas")


@pytest.fixture
def recordings(tmp_path):
    """In the layout and at the rate of the Free Spoken Digit Dataset."""
    folder = tmp_path / "fsdd"
    (folder / "recordings").mkdir(parents=True)
    for speaker in SPEAKERS:
        for digit in (0, 7):
            audio = tone(0.3, hz=300 + 50 * digit, rate_hz=8000)
            soundfile.write(folder / "recordings" / f"{digit}_{speaker}_0.wav", audio, 8000)
    return folder


def test_digits_by_speaker(recordings, tmp_path):
    made = SpokenDigits(
        data_dir=tmp_path / "corpora",
        source=FolderDigits(recordings),
        workers=1,
        test_speakers=["lucas"],
    )
    made.prepare()
    speakers = {}
    for split in ("train", "validation", "test"):
        corpus = open_corpus(tmp_path / "corpora", "spoken_digits", split)
        assert set(corpus.texts) == {"zero", "seven"}
        np.testing.assert_array_equal(corpus.num_samples, 4800)  # at 16 kHz
        speakers[split] = set(corpus.speakers)
    assert speakers["test"] == {"lucas"}
    assert len(speakers["validation"]) == 1
    assert len(speakers["train"]) == 2


def test_other_files_are_counted(recordings):
    (recordings / "recordings" / "noise.wav").touch()
    report = SkipReport()
    assert len(list_digits(recordings, report)) == 8
    assert [(skip.id, skip.cause) for skip in report.skips] == [("noise", Cause.NOT_A_DIGIT)]


def test_librispeech_layout(tmp_path):
    write_chapter(tmp_path / "digits", "1", "1", ["ZERO", "NINE", "TEN"])
    report = SkipReport()
    listed = list_digits(tmp_path / "digits", report)
    assert [recording.text for recording in listed] == ["zero", "nine"]
    assert report.counts() == {Cause.NOT_A_DIGIT: 1}
    assert set(DIGITS) >= {"zero", "nine"}
    assert len(DIGITS) == 10


def test_no_folder(tmp_path):
    with pytest.raises(CorpusError, match="name the Free Spoken Digit Dataset's"):
        list_digits(tmp_path / "nowhere", SkipReport())


def test_tfds_examples_are_the_recordings_of_the_folder(recordings):
    files = sorted((recordings / "recordings").glob("*.wav"))
    examples = [
        {
            "audio/filename": path.name.encode(),
            "label": int(path.name[0]),
            "audio": soundfile.read(path, dtype="int16")[0].astype(np.int64),
        }
        for path in reversed(files)
    ]
    wrong = examples[0] | {"label": 3}
    report = SkipReport()
    found = convert([*examples, wrong], report)
    assert report.counts() == {Cause.NOT_A_DIGIT: 1}
    wanted = list_digits(recordings, SkipReport())
    for ours, theirs in zip(found, wanted, strict=True):
        assert (ours.id, ours.speaker, ours.text) == (theirs.id, theirs.speaker, theirs.text)
        np.testing.assert_array_equal(ours.decode(), theirs.decode())


def test_tfds_without_tensorflow_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(CorpusError, match="needs TensorFlow"):
        TfdsDigits(tmp_path).recordings(SkipReport())
