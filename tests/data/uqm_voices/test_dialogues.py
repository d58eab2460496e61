import pytest

from data.skips import Cause, SkipError
from data.uqm_voices.dialogues import parse_dialogue, spoken_text

SCRIPT = (
    "#(INIT_HELLO)\torz-000.ogg\r\nHello to our *house*.\r\nDo you feel *better* yet?\r\n\r\n"
    "#(who_you)\r\nWho are you?\r\n\r\n#(OTHER)\t../rebels/rebels-001.ogg\r\nNever!!\r\n"
)


def test_parse_dialogue():
    assert list(parse_dialogue(SCRIPT)) == [
        ("orz-000.ogg", "Hello to our *house*.\nDo you feel *better* yet?"),
        ("rebels-001.ogg", "Never!!"),
    ]


@pytest.mark.parametrize(
    ("written", "spoken"),
    [
        ("Hello to our *house*.\nMore", "hello to our house more"),
        ("Well (sniff!) I (sob! sob!) see (?)", "well i see"),
        ("*Sigh.* If (and only if) you", "if and only if you"),
        ("called `Orz' by-and-by", "called orz by and by"),
    ],
)
def test_spoken_text(written, spoken):
    assert spoken_text(written) == spoken


@pytest.mark.parametrize(
    ("written", "cause"),
    [
        ("(sniff!)", Cause.EMPTY_TEXT),
        ("(...several hours later...) Wow.", Cause.ODD_CHARACTERS),
        ("<GO AWAY> he said", Cause.ODD_CHARACTERS),
        ("THIS IS PROBE 2418-B", Cause.AMBIGUOUS_NUMBER),
    ],
)
def test_spoken_text_rejects(written, cause):
    with pytest.raises(SkipError) as raised:
        spoken_text(written)
    assert raised.value.cause == cause
