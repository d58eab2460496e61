import dataclasses

import pytest

from data.synthetic_speech.config import SyntheticSpeechConfig
from data.synthetic_speech.speakers import SpeakersConfig
from data.synthetic_speech.take import AcousticsConfig

CHANGED = {
    "text_source": "books",
    "hours": 10.0,
    "validation_hours": 0.2,
    "test_hours": 0.2,
    "seed": 1,
    "voices": ("pico_us",),
    "speakers": SpeakersConfig(train=3),
    "acoustics": AcousticsConfig(room_probability=0.0),
}


def test_every_field_changes_the_name():
    names = {
        SyntheticSpeechConfig(**{field.name: CHANGED[field.name]}).name
        for field in dataclasses.fields(SyntheticSpeechConfig)
    }
    assert len(names | {SyntheticSpeechConfig().name}) == len(CHANGED) + 1
    assert SyntheticSpeechConfig().name == "prompts_1.2h"
    assert SyntheticSpeechConfig(text_source="books", hours=10).name == "books_10h"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"text_source": "poems"},
            "text_source is 'poems'; it may be prompts or digits or single_digits or commands or "
            "books",
        ),
        ({"hours": 0.0}, "hours is 0.0; it must be above 0"),
        ({"test_hours": -1.0}, "test_hours is -1.0"),
        ({"voices": ("pico_us", "nobody")}, "no voices nobody; there are hibari_us"),
        ({"voices": ()}, "voices is empty"),
    ],
)
def test_a_config_that_cannot_be_made_is_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        SyntheticSpeechConfig(**fields)
