"""An artefact comes back bit for bit; a damaged, edited or foreign one is refused by name."""

import dataclasses
import hashlib
import json
import subprocess
import sys

import numpy as np
import pytest

from rnnt_qat.artefact.artefact import VERSION, Artefact, ArtefactError, load, save
from rnnt_qat.artefact.player import Player, greedy, recognize
from tests.export.random_integers import random_features, random_rnnt

CHIPS = pytest.mark.parametrize("wide", [False, True], ids=["ethos_u_8x8_16", "ethos_u_16x8"])


PIECES = ("", *" abcdefgé", "the ", "i")
FEATURES = {
    "stack": 2,
    "deviation": 0.5,
    "log_mel": {"num_mel_bins": 12},
    "mean": [0.5] * 12,
    "std": [2.0] * 12,
}


def artefact(model):
    return Artefact(model, PIECES, FEATURES, max_symbols_per_frame=3, origin={"step": 7})


@pytest.fixture
def folder(tmp_path):
    model = random_rnnt(np.random.default_rng(0), wide=False)
    return save(artefact(model), tmp_path / "artefact")


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
    loaded = load(save(artefact(model), tmp_path / "model"))
    for field in ("pieces", "features", "max_symbols_per_frame", "origin"):
        assert getattr(loaded, field) == getattr(artefact(model), field)
    features = random_features(rng, model, 21)
    assert greedy(Player(loaded.model), features, 4, 3) == greedy(Player(model), features, 4, 3)
    assert loaded.model.arithmetic == model.arithmetic


def test_features_become_text_from_the_artefact_alone_and_without_jax(folder, tmp_path):
    features = np.random.default_rng(2).normal(size=(31, 24)).astype(np.float32)
    np.save(tmp_path / "features.npy", features)
    program = (
        "import sys, numpy as np\n"
        "from rnnt_qat.artefact.artefact import load\n"
        "from rnnt_qat.artefact.player import recognize\n"
        f"features = np.load({str(tmp_path / 'features.npy')!r})\n"
        f"text, found = recognize(load({str(folder)!r}), features, 4)\n"
        "loaded = {'jax', 'flatbuffers', 'ai_edge_litert', 'sentencepiece'} & set(sys.modules)\n"
        "assert not loaded, loaded\n"
        "print(found.tokens, text, sep='|')\n"
    )
    run = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True)
    text, found = recognize(load(folder), features, 2)
    assert found.tokens
    assert text == "".join(PIECES[t] for t in found.tokens).strip()
    assert run.stdout.decode().rstrip("\n") == f"{found.tokens}|{text}"


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


def leaves(node, path=()):
    """Every scalar of a JSON tree with its path."""
    if isinstance(node, dict | list):
        for key, value in node.items() if isinstance(node, dict) else enumerate(node):
            yield from leaves(value, (*path, key))
    else:
        yield path, node


def test_every_edited_field_of_the_manifest_is_refused(folder):
    path = folder / "manifest.json"
    original = path.read_text()
    for where, value in leaves(json.loads(original)):
        manifest = node = json.loads(original)
        for key in where[:-1]:
            node = node[key]
        node[where[-1]] = f"{value}0" if isinstance(value, str) else (value or 0) + 1
        path.write_text(json.dumps(manifest))
        expected = {"format": "a foreign file", "version": f"version {VERSION + 1}"}.get(
            where[0], "was edited"
        )
        with pytest.raises(ArtefactError, match=expected):
            load(folder)


def test_every_array_s_edit_is_refused_by_its_name(folder):
    with np.load(folder / "arrays.npz") as file:
        original = dict(file)
    for name, array in original.items():
        edited = array.copy()
        edited.reshape(-1)[-1] += 1
        np.savez(folder / "arrays.npz", **original | {name: edited})
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
    check(lambda m: m.update(note="mine"), r"unknown \['note'\]")
    check(lambda m: m.pop("features"), r"lacks \['features'\]")
    check(lambda m: m.update(max_symbols_per_frame=0), "max_symbols_per_frame is 0")


def test_another_model_s_tokenizer_or_features_are_refused(folder):
    original = (folder / "manifest.json").read_text()

    def check(change, message):
        (folder / "manifest.json").write_text(original)
        rewrite(folder, change)
        with pytest.raises(ArtefactError, match=rf"manifest\.json: .*{message}"):
            load(folder)

    check(lambda m: m["pieces"].pop(), "tokenizer has 11 pieces, the model 12 labels")
    check(lambda m: m["pieces"].__setitem__(0, "a"), "only the blank")
    check(lambda m: m["pieces"].__setitem__(3, 5), "not all texts")
    check(lambda m: m["features"].update(stack=3), "3 frames of 12 mel bins, the encoder takes 24")
    check(lambda m: m["features"]["mean"].pop(), "features.mean is not 12 finite numbers")
    check(lambda m: m["features"]["std"].__setitem__(4, 0.0), "features.std has a bin")
    check(lambda m: m["features"].update(deviation=0), "features.deviation is 0")
    check(lambda m: m["features"].pop("log_mel"), "features lack a setting.*log_mel")


def test_a_change_of_any_format_changes_the_hash(tmp_path, folder):
    model = load(folder).model
    other = dataclasses.replace(model, chip="another")
    again = save(artefact(other), tmp_path / "other")
    hashes = {json.loads((f / "manifest.json").read_text())["sha256"] for f in (folder, again)}
    assert len(hashes) == 2
