"""The integer artefact: a trained recognizer as a folder that firmware can be written from.

    manifest.json   what it is, every format, shape and hash, tokenizer, feature settings, origin
    arrays.npz      the integers and weight scales, uncompressed NumPy arrays

Loading checks everything (format, version, both files' hashes, every array's dtype, shape and
content, every field, and that the networks fit together) and refuses with the name of what is
wrong. The hashes guard against damage and edits by hand, not against forgery.
"""

import dataclasses
import enum
import hashlib
import json
import os
import shutil
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from rnnt_qat.export.arithmetic import LstmActivation, Requantization, RuntimeArithmetic
from rnnt_qat.export.integers import (
    DenseIntegers,
    EncoderIntegers,
    JointIntegers,
    LstmIntegers,
    PredictionIntegers,
    RnntIntegers,
)
from rnnt_qat.export.tensor_format import TensorFormat

FORMAT = "rnnt_qat integer artefact"
VERSION = 1
MANIFEST, ARRAYS = "manifest.json", "arrays.npz"

_KINDS = {
    kind.__name__: kind
    for kind in (
        DenseIntegers,
        EncoderIntegers,
        JointIntegers,
        LstmIntegers,
        PredictionIntegers,
        RnntIntegers,
        RuntimeArithmetic,
        TensorFormat,
    )
}
_ENUMS = {kind.__name__: kind for kind in (LstmActivation, Requantization)}


class ArtefactError(ValueError):
    """An artefact is not what it should be; the message names the file and the part."""


@dataclass(frozen=True, eq=False)
class Artefact:
    """Everything that recognizing speech on a chip takes.

    Attributes:
      model: the integers.
      tokenizer: JSON description that turns labels into text.
      features: JSON settings of the frontend.
      origin: JSON notes on where it came from (config, commit, checkpoint, versions).
    """

    model: RnntIntegers
    tokenizer: dict[str, Any] = field(default_factory=dict)
    features: dict[str, Any] = field(default_factory=dict)
    origin: dict[str, Any] = field(default_factory=dict)


def save(artefact: Artefact, folder: str | os.PathLike[str]) -> Path:
    """Writes an artefact; the folder appears whole or not at all.

    Raises:
      FileExistsError: something is there already.
    """
    folder = Path(folder)
    if folder.exists():
        raise FileExistsError(f"{folder} exists; an artefact is never written over")
    arrays: dict[str, np.ndarray] = {}
    manifest = {
        "format": FORMAT,
        "version": VERSION,
        "model": _encode(artefact.model, "model", arrays),
        "tokenizer": artefact.tokenizer,
        "features": artefact.features,
        "origin": artefact.origin,
        "arrays": {name: _describe(array) for name, array in arrays.items()},
    }
    manifest["sha256"] = _manifest_hash(manifest)
    unfinished = folder.with_name(f"{folder.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    with (unfinished / ARRAYS).open("wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]
    (unfinished / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n")
    unfinished.rename(folder)
    return folder


def load(folder: str | os.PathLike[str]) -> Artefact:
    """Reads an artefact and checks all of it.

    Raises:
      ArtefactError: naming what is missing, foreign, damaged or does not fit.
    """
    folder = Path(folder)
    manifest = _read_manifest(folder / MANIFEST)
    arrays = _read_arrays(folder / ARRAYS, manifest["arrays"])
    used: set[str] = set()
    try:
        model = _decode(manifest["model"], "model", arrays, used)
    except ArtefactError:
        raise
    except (KeyError, TypeError, ValueError) as error:
        raise ArtefactError(f"{folder / MANIFEST}: {error}") from error
    if not isinstance(model, RnntIntegers):
        raise ArtefactError(f"{folder / MANIFEST}: model is a {type(model).__name__}")
    unused = sorted(set(arrays) - used)
    if unused:
        raise ArtefactError(f"{folder / ARRAYS}: arrays that no part of the model names: {unused}")
    return Artefact(model, manifest["tokenizer"], manifest["features"], manifest["origin"])


def _encode(value: Any, path: str, arrays: dict[str, np.ndarray]) -> Any:
    """JSON of a tree of dataclasses; arrays go to ``arrays`` under their path."""
    if isinstance(value, np.ndarray):
        arrays[path] = value
        return {"array": path}
    if isinstance(value, np.dtype):
        return {"dtype": value.name}
    if isinstance(value, enum.Enum):
        return {"choice": type(value).__name__, "value": value.value}
    if dataclasses.is_dataclass(value):
        fields = {
            f.name: _encode(getattr(value, f.name), f"{path}.{f.name}", arrays)
            for f in dataclasses.fields(value)
        }
        return {"kind": type(value).__name__, **fields}
    if isinstance(value, tuple):
        return [_encode(item, f"{path}.{n}", arrays) for n, item in enumerate(value)]
    return value


def _decode(node: Any, path: str, arrays: dict[str, np.ndarray], used: set[str]) -> Any:
    if isinstance(node, list):
        return tuple(_decode(item, f"{path}.{n}", arrays, used) for n, item in enumerate(node))
    if not isinstance(node, dict):
        return node
    if "array" in node:
        if node["array"] not in arrays:
            raise ArtefactError(f"{ARRAYS}: array {node['array']!r} of {path} is missing")
        used.add(node["array"])
        return arrays[node["array"]]
    if "dtype" in node and "kind" not in node:
        return np.dtype(node["dtype"])
    if "choice" in node:
        return _ENUMS[node["choice"]](node["value"])
    kind = _KINDS.get(node.get("kind", ""))
    if kind is None:
        raise ArtefactError(f"{MANIFEST}: {path} is of unknown kind {node.get('kind')!r}")
    expected = {f.name for f in dataclasses.fields(kind)}
    found = set(node) - {"kind"}
    if expected != found:
        raise ArtefactError(
            f"{MANIFEST}: {path} ({kind.__name__}) lacks {sorted(expected - found)} and has "
            f"unknown {sorted(found - expected)}"
        )
    values = {name: _decode(node[name], f"{path}.{name}", arrays, used) for name in expected}
    try:
        return kind(**values)
    except (TypeError, ValueError, AttributeError) as error:
        raise ArtefactError(f"{MANIFEST}: {path} does not fit: {error}") from error


def _read_manifest(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise ArtefactError(f"{path} is missing: not an artefact's folder")
    try:
        manifest = json.loads(path.read_text())
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ArtefactError(f"{path} is not JSON (truncated?): {error}") from error
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        found = manifest.get("format") if isinstance(manifest, dict) else type(manifest).__name__
        raise ArtefactError(f"{path}: format is {found!r}, not {FORMAT!r}: a foreign file")
    if manifest.get("version") != VERSION:
        raise ArtefactError(
            f"{path}: version {manifest.get('version')!r}; this code reads {VERSION}: freeze again"
        )
    missing = {"model", "tokenizer", "features", "origin", "arrays", "sha256"} - set(manifest)
    if missing:
        raise ArtefactError(f"{path} lacks {sorted(missing)}")
    if manifest["sha256"] != _manifest_hash(manifest):
        raise ArtefactError(f"{path} was edited: its content does not match its sha256")
    return manifest


def _read_arrays(path: Path, described: dict[str, Any]) -> dict[str, np.ndarray]:
    if not path.is_file():
        raise ArtefactError(f"{path} is missing")
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except (zipfile.BadZipFile, OSError, ValueError, EOFError) as error:
        raise ArtefactError(f"{path} cannot be read (truncated?): {error}") from error
    for name, expected in described.items():
        if name not in arrays:
            raise ArtefactError(f"{path}: array {name!r} is missing")
        found = _describe(arrays[name])
        for part in ("dtype", "shape", "sha256"):
            if found[part] != expected[part]:
                raise ArtefactError(
                    f"{path}: {part} of {name!r} is {found[part]}, "
                    f"the manifest says {expected[part]}"
                )
    extra = sorted(set(arrays) - set(described))
    if extra:
        raise ArtefactError(f"{path}: arrays that the manifest does not know: {extra}")
    return arrays


def _describe(array: np.ndarray) -> dict[str, Any]:
    little_endian = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
    return {
        "dtype": array.dtype.name,
        "shape": list(array.shape),
        "sha256": hashlib.sha256(little_endian.tobytes()).hexdigest(),
    }


def _manifest_hash(manifest: dict[str, Any]) -> str:
    content = {name: value for name, value in manifest.items() if name != "sha256"}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
