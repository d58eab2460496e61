"""Which models are deployed, and by which names."""

import pytest

from rnnt_qat.experiment.recognizer import ModelDirectoryError
from rnnt_qat.studies.chip_systems import load_systems
from tests.experiment import tiny


@pytest.mark.slow
def test_systems_of_one_kind_are_named_by_their_place(tmp_path):
    for place in ("a/models/aware", "a/sweep/models/aware", "b/sweep/models/aware"):
        tiny.recognizer().save(tmp_path / place)
    first, second, third = load_systems([tmp_path / "a", tmp_path / "b"])
    assert second.name == f"{first.name} (sweep/models/aware)"
    assert third.name == f"{first.name} ({tmp_path}/b/sweep/models/aware)"
    with pytest.raises(ModelDirectoryError, match="name each model once"):
        load_systems([tmp_path / "a", tmp_path / "a/sweep"])
