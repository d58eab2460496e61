import hashlib
import io
import zipfile

import pytest
import soundfile

from data.skips import Cause, SkipReport
from data.uqm_voices import builder as uqm
from data.uqm_voices.builder import UqmVoices
from rnnt_qat.input_pipeline.corpus import CorpusError, open_corpus
from tests.data.conftest import tone, write_deb

RATE_HZ = 11_025


def ogg(seconds: float, hz: float) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, tone(seconds, hz, RATE_HZ), RATE_HZ, format="OGG")
    return buffer.getvalue()


def zipped(files: dict[str, bytes | str]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


@pytest.fixture
def debs(tmp_path, monkeypatch):
    same = ogg(1.1, 333)
    voice = {
        "3dovoice/3dovoice.rmp": "comm.orz.dialogue = CONVERSATION:base/comm/orz/orz.txt:x:y\n"
        "comm.vux.dialogue = CONVERSATION:addons/3dovoice/vux/vux.txt:x:y\n"
        "comm.syreen.dialogue = CONVERSATION:base/comm/syreen/syreen.txt:x:y\n"
        "comm.umgah.rebel.dialogue = CONVERSATION:base/comm/umgah/umgah.txt:x:y\n",
        "3dovoice/vux/vux.txt": "#(A)\tvux-000.ogg\nAs it was said.\n",
        "3dovoice/vux/vux-000.ogg": ogg(1.2, 300),
        "3dovoice/syreen/syreen-000.ogg": ogg(1.3, 310),
        "3dovoice/umgah/umgah-000.ogg": ogg(1.4, 320),
        "3dovoice/orz/orz-000.ogg": same,
        "3dovoice/orz/orz-001.ogg": same,
        "3dovoice/orz/orz-002.ogg": ogg(1.2, 340),
        "3dovoice/orz/orz-003.ogg": ogg(22.0, 350),
        "3dovoice/orz/orz-004.ogg": ogg(1.5, 360),
    }
    content = {
        "base/comm/orz/orz.txt": "#(A)\torz-000.ogg\nHello *there*.\n#(B)\torz-001.ogg\nHello.\n"
        "#(C)\torz-002.ogg\nOne thing.\n#(C2)\torz-002.ogg\nAnother.\n#(D)\torz-003.ogg\nLong.\n"
        "#(E)\torz-009.ogg\nGone.\n",
        "base/comm/vux/vux.txt": "#(A)\tvux-000.ogg\nAs it was written.\n",
        "base/comm/syreen/syreen.txt": "#(A)\tsyreen-000.ogg\nGreetings, Captain.\n",
        "base/comm/umgah/umgah.txt": "#(A)\tumgah-000.ogg\nHar har.\n",
    }
    packages = {}
    for name, files in (("uqm-voice", voice), ("uqm-content", content)):
        path = f"usr/share/games/{name}.uqm"
        deb = write_deb(tmp_path / "debs" / f"{name}_0_all.deb", {path: zipped(files)})
        packages[name] = hashlib.sha256(deb.read_bytes()).hexdigest()
    monkeypatch.setattr(uqm, "PACKAGES", packages)
    return tmp_path / "debs"


def test_clips_are_read_split_by_character_and_counted(debs, tmp_path):
    directory = UqmVoices(data_dir=tmp_path, debs=debs, workers=1).prepare()
    report = SkipReport.load(directory / "skip_report.json")
    assert {skip.id: skip.cause for skip in report.skips} == {
        "orz-001": Cause.DUPLICATE,
        "orz-002": Cause.CONTRADICTION,
        "orz-003": Cause.TOO_LONG,
        "orz-004": Cause.UNTRANSCRIBED,
        "orz-009": Cause.MISSING_AUDIO,
        "umgah-000": Cause.EXCLUDED_SPEAKER,
    }
    for split, speaker, text, seconds in (
        ("train", "orz", "hello there", 1.1),
        ("validation", "vux", "as it was said", 1.2),  # the script beside the recordings
        ("test", "syreen", "greetings captain", 1.3),
    ):
        (utterance,) = open_corpus(tmp_path, "uqm_voices/short", split)
        assert (utterance.speaker, utterance.text) == (speaker, text)
        assert utterance.duration_s == pytest.approx(seconds, abs=1e-3)


def test_configs_widen_what_is_kept(debs, tmp_path):
    UqmVoices(data_dir=tmp_path, debs=debs, config="all", workers=1).prepare()
    assert set(open_corpus(tmp_path, "uqm_voices/all", "train").ids) == {
        "orz-000",
        "orz-003",
        "umgah-000",
    }


def test_missing_package(tmp_path):
    with pytest.raises(CorpusError, match="exactly one uqm-voice"):
        UqmVoices(data_dir=tmp_path, debs=tmp_path, workers=1).prepare()
