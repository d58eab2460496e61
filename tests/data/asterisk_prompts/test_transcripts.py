import pytest

from data.asterisk_prompts.transcripts import parse_transcripts, phrases, spoken_text
from data.skips import Cause, SkipError


def test_parse_transcripts():
    content = "; a comment\n\nhello: Hello.\npriv: I have a caller, who says:\nx/y:  spaced \n"
    assert parse_transcripts(content) == {
        "hello": "Hello.",
        "priv": "I have a caller, who says:",
        "x/y": "spaced",
    }


@pytest.mark.parametrize(
    ("written", "spoken"),
    [
        ("press * to toggle pause, press # to go", "press star to toggle pause press pound to go"),
        ("at [@]", "at"),
        ("press the pound key. (simple tone sound plays)", "press the pound key"),
        ('IAX (note: does not say "2")', "iax"),
        ("to mute or umute all", "to mute or unmute all"),
        ("visit www.asterisk.org.", "visit w w w dot asterisk dot org"),
        ("an Open Source PBX and IVR platform", "an open source p b x and i v r platform"),
        ("A.M.", "a m"),
        ("o'clock", "o'clock"),
        ("Use the 7 key for Q", "use the seven key for q"),
    ],
)
def test_spoken_text(written, spoken):
    assert spoken_text(written) == spoken


@pytest.mark.parametrize(
    "written", ["[ascending tones]", "<beep ascending>", "(1 second of silence)"]
)
def test_notes_are_not_speech(written):
    with pytest.raises(SkipError) as raised:
        spoken_text(written)
    assert raised.value.cause == Cause.NOT_SPEECH


def test_phrases_are_sentences_and_long_runs():
    assert phrases("Thank you.  Please try again!") == {"thank you", "please try again"}
    assert phrases("... to exit the menu.") == {"to exit the menu"}
    long = phrases("one two three four five six seven eight nine")
    assert long == {
        "one two three four five six seven eight nine",
        "one two three four five six seven eight",
        "two three four five six seven eight nine",
    }
