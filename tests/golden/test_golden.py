"""Integers, tokens and files of an earlier version of the code: today's gives the same."""

import json

import pytest

from rnnt_qat.artefact.artefact import load as load_artefact
from rnnt_qat.experiment.recognizer import Recognizer
from tests.golden.cases import CASES, integers
from tests.golden.make import ARTEFACT, INTEGERS, MODEL, MODEL_INTEGERS, decoded, played


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_integers_are_those_of_before(case):
    kept = json.loads(INTEGERS.read_text())[case]
    found = integers(case)
    for part, expected in kept.items():
        if not isinstance(expected, dict):
            assert found[part] == expected, part
            continue
        changed = sorted(
            name
            for name in {*expected, *found[part]}
            if expected.get(name) != found[part].get(name)
        )
        assert not changed, f"{part}: {', '.join(changed)}"


@pytest.mark.slow
def test_a_model_directory_of_before_loads_and_decodes_the_same():
    kept = json.loads(MODEL_INTEGERS.read_text())["model"]
    assert decoded(Recognizer.load(MODEL)) == kept
    assert kept["tokens"]


def test_an_artefact_of_before_loads_and_plays_the_same():
    kept = json.loads(MODEL_INTEGERS.read_text())["artefact"]
    assert played(load_artefact(ARTEFACT)) == kept
    assert kept["tokens"]
