"""The integer artefact: a trained recognizer as a folder, the input for writing firmware.

    manifest.json   formats, shapes and hashes, the labels' texts, feature settings, origin
    arrays.npz      the integers and weight scales, uncompressed NumPy arrays

Loading checks everything: format, version, the hashes of both files, the dtype, shape and content
of every array, every field, and that networks, labels and features fit together. An error names
what is wrong. The hashes detect damage and manual edits, not forgery.
"""

import dataclasses
import enum
import hashlib
import json
import math
import os
import shutil
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from rnnt_qat.artefact.fused_lstm_units import LstmActivation
from rnnt_qat.artefact.integers import (
    EncoderIntegers,
    JointIntegers,
    PredictionIntegers,
    RnntIntegers,
)
from rnnt_qat.artefact.layer_integers import DenseIntegers, LstmIntegers
from rnnt_qat.artefact.recorded_layer import Constant, Node, NodeKind, RecordedLayer, StateTensor
from rnnt_qat.artefact.runtime_arithmetic import Requantization, RuntimeArithmetic
from rnnt_qat.artefact.tensor_format import TensorFormat
from rnnt_qat.artefact.tosa_arithmetic import TosaArithmetic
from rnnt_qat.infra.errors import UserError

FORMAT = "rnnt_qat integer artefact"
VERSION = 2
MANIFEST, ARRAYS = "manifest.json", "arrays.npz"

_KINDS = {
    kind.__name__: kind
    for kind in (
        Constant,
        DenseIntegers,
        EncoderIntegers,
        JointIntegers,
        LstmIntegers,
        Node,
        PredictionIntegers,
        RecordedLayer,
        RnntIntegers,
        StateTensor,
        RuntimeArithmetic,
        TensorFormat,
        TosaArithmetic,
    )
}
_ENUMS = {kind.__name__: kind for kind in (LstmActivation, NodeKind, Requantization)}


class ArtefactError(UserError, ValueError):
    """An artefact is invalid; the message names the file and the field."""


@dataclass(frozen=True, eq=False)
class Artefact:
    """A complete recognizer for a chip.

    Attributes:
      model: the integers.
      pieces: text of each label, with a space where a word starts; the blank's is empty.
      features: JSON settings of the frontend: ``stack``, ``deviation`` and ``log_mel`` as
        configured, and ``mean`` and ``std`` of each mel bin. Before stacking, ``x`` becomes ``(x -
        mean) / (std / deviation)``.
      max_symbols_per_frame: maximum number of labels that greedy search emits per encoder frame.
      origin: JSON record of provenance (config, commit, checkpoint, versions).

    Raises:
      ArtefactError: two fields do not fit together; names both.
    """

    model: RnntIntegers
    pieces: tuple[str, ...]
    features: dict[str, Any]
    max_symbols_per_frame: int = 10
    origin: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Rejects labels or features of another model."""
        _check_pieces(self.pieces, self.model.vocabulary)
        _check_features(self.features, self.model.encoder.feature_size)
        if not isinstance(self.max_symbols_per_frame, int) or self.max_symbols_per_frame < 1:
            raise ArtefactError(
                f"max_symbols_per_frame is {self.max_symbols_per_frame!r}, not a number from 1"
            )

    def text(self, tokens: Iterable[int]) -> str:
        """Returns the transcript of labels in [1, V), without surrounding spaces."""
        return "".join(self.pieces[token] for token in tokens).strip()


def save(artefact: Artefact, folder: str | os.PathLike[str]) -> Path:
    """Writes an artefact; the folder appears complete or not at all.

    Args:
      artefact: the artefact.
      folder: the folder to create.

    Returns:
      The folder.

    Raises:
      FileExistsError: the folder exists.
    """
    folder = Path(folder)
    if folder.exists():
        raise FileExistsError(f"{folder} exists; an artefact is never written over")
    arrays: dict[str, np.ndarray] = {}
    manifest = {
        "format": FORMAT,
        "version": VERSION,
        "model": _encode(artefact.model, "model", arrays),
        "pieces": list(artefact.pieces),
        "features": artefact.features,
        "max_symbols_per_frame": artefact.max_symbols_per_frame,
        "origin": artefact.origin,
        "arrays": {name: _describe(array) for name, array in arrays.items()},
    }
    manifest["sha256"] = _manifest_hash(manifest)
    unfinished = folder.with_name(f"{folder.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    with (unfinished / ARRAYS).open("wb") as file:
        np.savez(file, allow_pickle=False, **arrays)
    (unfinished / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n")
    unfinished.rename(folder)
    return folder


def load(folder: str | os.PathLike[str]) -> Artefact:
    """Reads and checks an artefact.

    Raises:
      ArtefactError: something is missing, unknown, damaged or inconsistent; names it.
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
    try:
        return Artefact(
            model,
            tuple(manifest["pieces"]),
            manifest["features"],
            manifest["max_symbols_per_frame"],
            manifest["origin"],
        )
    except (ArtefactError, TypeError) as error:
        raise ArtefactError(f"{folder / MANIFEST}: {error}") from error


def _check_pieces(pieces: tuple[str, ...], vocabulary: int) -> None:
    if len(pieces) != vocabulary:
        raise ArtefactError(
            f"the tokenizer has {len(pieces)} pieces, the model {vocabulary} labels with the "
            "blank: it is another model's"
        )
    if not all(isinstance(piece, str) for piece in pieces):
        raise ArtefactError("the tokenizer's pieces are not all texts")
    if pieces[0] or not all(pieces[1:]):
        raise ArtefactError("only the blank, label 0, has an empty piece; the tokenizer's do not")


def _check_features(features: dict[str, Any], feature_size: int) -> None:
    try:
        bins, stack = features["log_mel"]["num_mel_bins"], features["stack"]
        deviation = features["deviation"]
        moments = {name: np.asarray(features[name], np.float64) for name in ("mean", "std")}
    except (KeyError, TypeError, ValueError) as error:
        raise ArtefactError(
            f"features lack a setting or have one of another kind: {error!r}"
        ) from error
    if bins * stack != feature_size:
        raise ArtefactError(
            f"features are {stack} frames of {bins} mel bins, the encoder takes {feature_size} "
            "numbers: they are another model's"
        )
    for name, values in moments.items():
        if values.shape != (bins,) or not np.isfinite(values).all():
            raise ArtefactError(f"features.{name} is not {bins} finite numbers, one a mel bin")
    if not (moments["std"] > 0).all():
        raise ArtefactError("features.std has a bin that is not above 0")
    if not isinstance(deviation, int | float) or not 0 < deviation < math.inf:
        raise ArtefactError(f"features.deviation is {deviation!r}, not a number above 0")


def _encode(value: Any, path: str, arrays: dict[str, np.ndarray]) -> Any:
    """Converts a tree of dataclasses to JSON; arrays are added to ``arrays`` under their path."""
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
    fields = {"format", "version", "model", "pieces", "features", "max_symbols_per_frame"}
    fields |= {"origin", "arrays", "sha256"}
    if fields != set(manifest):
        raise ArtefactError(
            f"{path} lacks {sorted(fields - set(manifest))} and has unknown "
            f"{sorted(set(manifest) - fields)}"
        )
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
