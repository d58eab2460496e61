"""Names of model directories."""

import pathlib

import pytest

from rnnt_qat.experiment.recognizer import name_models


@pytest.mark.parametrize(
    ("directories", "names"),
    [
        (["/w/a/models/float"], ["a/models/float"]),
        (["/w/a/models/float", "/w/a/models/aware"], ["a/models/float", "a/models/aware"]),
        (["/w/a/models/float", "/w/b/c/models/aware"], ["a/models/float", "b/c/models/aware"]),
        (["/model", "/m/aware"], ["model", "m/aware"]),
    ],
)
def test_models_are_named_by_what_tells_them_apart(directories, names):
    assert list(name_models([pathlib.Path(d) for d in directories])) == names


def test_paths_may_be_relative(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    named = name_models([pathlib.Path("run/models/float")])
    assert named == {"run/models/float": tmp_path / "run/models/float"}
