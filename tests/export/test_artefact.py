"""An artefact comes back bit for bit; a damaged, edited or foreign one is refused by name."""

import dataclasses
import hashlib
import json
import subprocess
import sys

import numpy as np
import pytest

from rnnt_qat.export.artefact import Artefact, ArtefactError, load, save
from rnnt_qat.export.player import Player, greedy
from tests.export.random_integers import random_features, random_rnnt

CHIPS = pytest.mark.parametrize("wide", [False, True], ids=["ethos_u_8x8_16", "ethos_u_16x8"])


@pytest.fixture
def folder(tmp_path):
    model = random_rnnt(np.random.default_rng(0), wide=False)
    tokenizer = {"kind": "characters", "symbols": ["", "a", "é"]}
    return save(Artefact(model, tokenizer, {"num_mel_bins": 24}), tmp_path / "artefact")


def rewrite(folder, change):
    """Edits the manifest and signs it again, as somebody with this code could."""
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    change(manifest)
    manifest.pop("sha256")
    content = json.dumps(manifest, sort_keys=True).encode()
    manifest["sha256"] = hashlib.sha256(content).hexdigest()
    path.write_text(json.dumps(manifest))


@CHIPS
@pytest.mark.parametrize("context", [1, 2])
def test_what_is_loaded_plays_what_was_saved(tmp_path, wide, context):
    rng = np.random.default_rng(1)
    model = random_rnnt(rng, wide, context=context)
    loaded = load(save(Artefact(model, {"symbols": ["", "a"]}), tmp_path / "model"))
    assert loaded.tokenizer == {"symbols": ["", "a"]}
    features = random_features(rng, model, 21)
    assert greedy(Player(loaded.model), features, 4, 3) == greedy(Player(model), features, 4, 3)
    assert loaded.model.arithmetic == model.arithmetic


def test_playing_an_artefact_takes_no_jax(folder):
    program = (
        "import sys, numpy as np\n"
        "from rnnt_qat.export.artefact import load\n"
        "from rnnt_qat.export.player import Player, greedy\n"
        f"model = load({str(folder)!r}).model\n"
        "greedy(Player(model), np.zeros((4, 24), np.int8), 2, 2)\n"
        "loaded = {'jax', 'flatbuffers', 'ai_edge_litert'} & set(sys.modules)\n"
        "assert not loaded, loaded\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_nothing_is_written_over(folder):
    with pytest.raises(FileExistsError, match="never written over"):
        save(load(folder), folder)


def test_a_missing_folder_or_file_is_named(tmp_path, folder):
    with pytest.raises(ArtefactError, match=r"manifest\.json is missing"):
        load(tmp_path / "nowhere")
    (folder / "arrays.npz").unlink()
    with pytest.raises(ArtefactError, match=r"arrays\.npz is missing"):
        load(folder)


@pytest.mark.parametrize("name", ["manifest.json", "arrays.npz"])
@pytest.mark.parametrize("keep", [0.0, 0.3, 0.999])
def test_a_truncated_file_is_refused(folder, name, keep):
    path = folder / name
    content = path.read_bytes()
    path.write_bytes(content[: int(keep * len(content))])
    with pytest.raises(ArtefactError, match=name):
        load(folder)


def test_an_edited_manifest_is_refused(folder):
    path = folder / "manifest.json"
    path.write_text(path.read_text().replace('"time_reduction": 2', '"time_reduction": 1'))
    with pytest.raises(ArtefactError, match="was edited"):
        load(folder)


def test_an_edited_array_is_refused_by_name(folder):
    with np.load(folder / "arrays.npz") as file:
        arrays = dict(file)
    name = "model.encoder.layers.1.w_hh"
    arrays[name] = arrays[name].copy()
    arrays[name][0, 0, 0] ^= 1
    np.savez(folder / "arrays.npz", **arrays)
    with pytest.raises(ArtefactError, match=f"sha256 of '{name}'"):
        load(folder)


@pytest.mark.parametrize("wrong", ["missing", "extra", "dtype", "shape"])
def test_arrays_that_do_not_match_the_manifest_are_refused(folder, wrong):
    with np.load(folder / "arrays.npz") as file:
        arrays = dict(file)
    name = "model.joint.output.bias"
    if wrong == "missing":
        del arrays[name]
    elif wrong == "extra":
        arrays["intruder"] = arrays[name]
        name = "intruder"
    elif wrong == "dtype":
        arrays[name] = arrays[name].astype(np.int64)
    else:
        arrays[name] = arrays[name][:-1]
    np.savez(folder / "arrays.npz", **arrays)
    with pytest.raises(ArtefactError, match=name):
        load(folder)


def test_a_foreign_file_and_another_version_are_refused(folder):
    rewrite(folder, lambda m: m.update(version=99))
    with pytest.raises(ArtefactError, match="version 99"):
        load(folder)
    (folder / "manifest.json").write_text('{"format": "somebody else\'s"}')
    with pytest.raises(ArtefactError, match="a foreign file"):
        load(folder)
    (folder / "manifest.json").write_text("[]")
    with pytest.raises(ArtefactError, match="a foreign file"):
        load(folder)


def test_a_resigned_manifest_must_still_fit_together(folder):
    original = (folder / "manifest.json").read_text()

    def check(change, message):
        (folder / "manifest.json").write_text(original)
        rewrite(folder, change)
        with pytest.raises(ArtefactError, match=message):
            load(folder)

    check(lambda m: m["model"]["encoder"].update(time_reduction=3), "encoder layer 1: expects 40")
    check(lambda m: m["model"]["encoder"].pop("projection"), r"lacks \['projection'\]")
    check(lambda m: m["model"]["encoder"].update(bits=4), r"unknown \['bits'\]")
    check(lambda m: m["model"]["joint"].update(kind="Attention"), "unknown kind 'Attention'")
    check(
        lambda m: m["model"]["encoder"]["layers"][0]["cell"].update(scale=0.1),
        "cell is .*power-of-two",
    )
    check(
        lambda m: m["model"]["joint"]["output"].update(bias={"array": "elsewhere"}),
        "'elsewhere' of model.joint.output.bias is missing",
    )
    check(lambda m: m["model"]["joint"]["output"].update(bias=None), "no part of the model names")


def test_a_change_of_any_format_changes_the_hash(tmp_path, folder):
    model = load(folder).model
    other = dataclasses.replace(model, chip="another")
    again = save(Artefact(other), tmp_path / "other")
    hashes = {json.loads((f / "manifest.json").read_text())["sha256"] for f in (folder, again)}
    assert len(hashes) == 2
