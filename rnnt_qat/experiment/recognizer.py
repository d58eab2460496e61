"""A trained recognizer and its directory format, used to evaluate, transcribe and export."""

import contextlib
import dataclasses
import hashlib
import json
import os
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict
from jax.sharding import Mesh

from rnnt_qat.artefact import artefact
from rnnt_qat.evaluation.streaming_evaluator import EvaluationConfig, StreamingEvaluator
from rnnt_qat.experiment.config import ExperimentConfig, Split
from rnnt_qat.frontend.frontend import Frontend
from rnnt_qat.frontend.statistics import FeatureStats
from rnnt_qat.infra.config import ConfigError, from_json, to_json
from rnnt_qat.infra.durable_files import changed_files, checksums, is_partial, replaced_folder
from rnnt_qat.infra.errors import UserError, is_machine_fault
from rnnt_qat.infra.mesh import make_mesh
from rnnt_qat.input_pipeline.corpus import open_corpus
from rnnt_qat.input_pipeline.eval_batches import EvalBatches
from rnnt_qat.input_pipeline.mixture import Mixture
from rnnt_qat.input_pipeline.tokenizer import CharacterTokenizer, Tokenizer, load_tokenizer
from rnnt_qat.models.bound_transducer import BoundTransducer
from rnnt_qat.models.rnnt import RNNT, example_inputs
from rnnt_qat.quant.audit import OffChip
from rnnt_qat.quant.policies import build_policy, policy_by_name, spec_of
from rnnt_qat.quant.policy import PrecisionPolicy
from rnnt_qat.quant.policy_spec import PolicySpec
from rnnt_qat.quant.quantized_module import QUANT_STATS, calibrated_ranges
from rnnt_qat.serving.audit import audit
from rnnt_qat.typing import PyTree

MANIFEST = "recognizer.json"
"""Name of the file in a model directory that describes the other files."""


_ENTRIES = {"config": dict, "policy": str, "tokenizer": str, "origin": dict}


class ModelDirectoryError(UserError, ValueError):
    """A directory without a valid recognizer: missing, damaged, or of another version."""


@dataclasses.dataclass(frozen=True)
class Recognizer:
    """A model under a policy, with its variables, frontend and tokenizer.

    Attributes:
      config: the experiment that trained it.
      policy: precision policy of the model.
      variables: parameters, and the ranges that the policy requires.
      frontend: computes features from audio.
      tokenizer: maps labels to text.
      origin: JSON with the stage and step of the parameters, the metrics measured there, and
        whether the stage trained through the policy.
    """

    config: ExperimentConfig
    policy: PrecisionPolicy
    variables: PyTree
    frontend: Frontend
    tokenizer: Tokenizer
    origin: dict[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def model(self) -> RNNT:
        """The model under the policy, without variables."""
        return RNNT(self.config.model, self.policy)

    def transducer(self) -> BoundTransducer:
        """The model bound to its variables, for decoding."""
        return BoundTransducer(variables=self.variables, model=self.model)

    def evaluator(
        self, splits: Sequence[Split], evaluation: EvaluationConfig, data_dir: pathlib.Path
    ) -> StreamingEvaluator:
        """Returns a streaming evaluator of test sets, to run on ``self.variables``.

        Args:
          splits: the test sets.
          evaluation: how they are decoded.
          data_dir: folder of the prepared corpora.
        """
        return make_evaluator(
            self.config, evaluation, self.policy, self.frontend, self.tokenizer, splits, data_dir
        )

    def audit(self) -> tuple[OffChip, ...]:
        """Returns the operators of the serving programs that do not run on the chip."""
        return audit(self.config.model, self.policy, self.config.frontend.feature_size)

    def save(self, directory: pathlib.Path) -> None:
        """Writes a directory for ``load``, atomically: a failed write keeps the previous one."""
        with replaced_folder(directory) as folder:
            np.savez(folder / "variables.npz", **flatten_dict(self.variables, sep="/"))
            self.frontend.stats.save(folder / "feature_stats.json")
            self.tokenizer.save(folder / tokenizer_file(self.tokenizer))
            manifest: dict[str, Any] = {
                "config": to_json(self.config),
                "policy": self.policy.name,
                "policy_rules": to_json(spec_of(self.policy)),
                "tokenizer": tokenizer_file(self.tokenizer),
                "origin": self.origin,
                "sha256": checksums(folder),
            }
            manifest["sha256"][MANIFEST] = _own_checksum(manifest)
            (folder / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n")

    @classmethod
    def load(cls, directory: pathlib.Path) -> "Recognizer":
        """Reads a directory written by ``save``.

        Raises:
          ModelDirectoryError: if a file is missing or has changed; the message names it.
          ConfigError: if the config is of an incompatible version.
        """
        directory = directory.absolute()
        manifest = read_manifest(directory)
        try:
            config = from_json(ExperimentConfig, manifest["config"])
            policy = _read_policy(manifest)
        except ModelDirectoryError:
            raise
        except ValueError as error:
            raise ConfigError(f"{directory / MANIFEST}: {error}") from error
        stats = directory / "feature_stats.json"
        tokenizer = directory / manifest["tokenizer"]
        with _named(stats):
            frontend = Frontend(config.frontend, FeatureStats.load(stats))
        with _named(tokenizer):
            labels = load_tokenizer(tokenizer)
        return cls(
            config=config,
            policy=policy,
            variables=_read_variables(directory / "variables.npz", config, policy),
            frontend=frontend,
            tokenizer=labels,
            origin=manifest["origin"],
        )


def read_manifest(directory: pathlib.Path) -> dict[str, Any]:
    """Reads the manifest of a model directory and verifies the files' checksums.

    Directories written by versions without checksums are not verified.

    Raises:
      ModelDirectoryError: if the manifest is missing, or a file is missing or has changed.
    """
    path = directory / MANIFEST
    try:
        manifest = json.loads(path.read_text("utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        found = model_directories(directory) if directory.is_dir() else []
        hint = f"; there are {', '.join(map(str, found))}" if found else ""
        raise ModelDirectoryError(
            f"{directory} holds no recognizer (no {MANIFEST}){hint}"
            f"{artefact_hint(directory)}. experiments.train writes them into WORKDIR/models"
        ) from None
    except ValueError as error:
        raise ModelDirectoryError(_damaged(path, str(error))) from error
    manifest = manifest if isinstance(manifest, dict) else {}
    wrong = [name for name, kind in _ENTRIES.items() if not isinstance(manifest.get(name), kind)]
    if wrong or not isinstance(manifest.get("sha256", {}), dict):
        raise ModelDirectoryError(_damaged(path, f"it lacks {', '.join(wrong) or 'checksums'}"))
    expected = dict(manifest.get("sha256", {}))
    if expected.pop(MANIFEST, None) != (_own_checksum(manifest) if "sha256" in manifest else None):
        raise ModelDirectoryError(_damaged(path, "it changed since it was written"))
    if changed := changed_files(directory, expected):
        raise ModelDirectoryError(
            _damaged(directory / changed[0], "it is missing or changed since it was written")
        )
    return manifest


def model_directories(root: pathlib.Path) -> list[pathlib.Path]:
    """Returns all complete model directories below a folder."""
    return sorted(p.parent for p in root.glob(f"**/{MANIFEST}") if not is_partial(p, root))


def find_models(workdir: pathlib.Path) -> list[pathlib.Path]:
    """Returns the model directories of a training run, in the order of its stages."""
    found = model_directories(workdir / "models") if (workdir / "models").is_dir() else []
    if not found:
        raise ModelDirectoryError(
            f"{workdir} holds no models: experiments.train writes them when training is done"
        )
    return sorted(found, key=lambda d: (read_manifest(d)["origin"].get("step", 0), d))


def trained_through_policy(origin: Mapping[str, Any]) -> bool:
    """Returns whether parameters were trained through their policy instead of calibrated only.

    Args:
      origin: the origin of a ``Recognizer`` or of an artefact made of one.
    """
    # Origins of earlier versions lack the field: only the stage of this name trained so.
    return bool(origin.get("trained", origin.get("stage") == "aware"))


def name_models(directories: Sequence[str]) -> dict[str, str]:
    """Returns model directories by the shortest distinct path ends, at least RUN/models/STAGE.

    Args:
      directories: paths or URLs of the directories.

    Raises:
      ModelDirectoryError: if one is named twice.
    """
    named = [pathlib.Path(d.replace("://", "/")) for d in directories]
    require_distinct(named)
    paths = [path.absolute() for path in named]
    shared = os.path.commonpath([path.parents[min(2, len(path.parents) - 1)] for path in paths])
    return {
        str(path.relative_to(shared)): directory
        for path, directory in zip(paths, directories, strict=True)
    }


def require_distinct(directories: Sequence[pathlib.Path]) -> None:
    """Checks that no model directory is named twice, which would count its errors twice.

    Raises:
      ModelDirectoryError: if one is.
    """
    seen: dict[pathlib.Path, pathlib.Path] = {}
    for directory in directories:
        if (before := seen.setdefault(directory.resolve(), directory)) is not directory:
            raise ModelDirectoryError(
                f"{directory} is the same model as {before}: name each model once"
            )


def artefact_hint(directory: pathlib.Path) -> str:
    """Returns what to do with a folder that holds an artefact in place of a recognizer; or ""."""
    if not (directory / artefact.MANIFEST).exists():
        return ""
    return ": it is an exported artefact, which `transcribe` plays and `adapt` changes"


def tokenizer_file(tokenizer: Tokenizer) -> str:
    """Returns the name of the file that a tokenizer is saved in."""
    return "tokenizer.json" if isinstance(tokenizer, CharacterTokenizer) else "tokenizer.model"


def _own_checksum(manifest: Mapping[str, Any]) -> str:
    """Returns the checksum of a manifest's content without the checksum entry."""
    files = {name: digest for name, digest in manifest["sha256"].items() if name != MANIFEST}
    content = json.dumps({**manifest, "sha256": files}, sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()


def _damaged(path: pathlib.Path, reason: str) -> str:
    return (
        f"{path} is damaged ({reason}): copy the model directory anew, or delete it and run the "
        "command that wrote it again"
    )


@contextlib.contextmanager
def _named(path: pathlib.Path) -> Iterator[None]:
    """Converts any error that a file is to blame for to a ModelDirectoryError with the path."""
    try:
        yield
    except (ModelDirectoryError, PermissionError):
        raise
    except Exception as error:  # zipfile, zlib, json, NumPy and SentencePiece raise their own
        if is_machine_fault(error):
            raise
        raise ModelDirectoryError(_damaged(path, str(error) or repr(error))) from error


def _read_policy(manifest: Mapping[str, Any]) -> PrecisionPolicy:
    """Returns the policy described by a manifest; earlier versions store only its name."""
    if "policy_rules" not in manifest:
        return policy_by_name(manifest["policy"])
    policy = build_policy(from_json(PolicySpec, manifest["policy_rules"]))
    if policy.name != manifest["policy"]:
        raise ModelDirectoryError(
            f"recognizer.json: policy is {manifest['policy']!r}, but policy_rules describe "
            f"{policy.name!r}; restore the one that was edited"
        )
    return policy


def _read_variables(
    path: pathlib.Path, config: ExperimentConfig, policy: PrecisionPolicy
) -> PyTree:
    """Reads the variables of the config's model under the policy.

    Raises:
      ModelDirectoryError: if arrays are missing, unknown or of a wrong shape; the message names
        them.
    """
    inputs = example_inputs(config.model, config.frontend.feature_size)
    model = RNNT(config.model, policy.calibration())  # the calibration model defines all ranges
    shapes = jax.eval_shape(model.init, jax.random.key(0), *inputs)
    shapes = {name: calibrated_ranges(leaves) for name, leaves in shapes.items()}
    expected = {name: leaf.shape for name, leaf in flatten_dict(shapes, sep="/").items()}
    with _named(path), np.load(path) as file:
        found = dict(file)
    shape = {name: array.shape for name, array in found.items()}
    wrong = sorted(name for name in {*expected, *shape} if expected.get(name) != shape.get(name))
    if wrong:
        raise ModelDirectoryError(
            f"{path} does not fit its recognizer.json: {', '.join(wrong)} missing, strange or of "
            "another shape; was one of the two files replaced?"
        )

    def read(array: np.ndarray) -> jax.Array:
        compact = array.dtype == np.float16
        return jnp.asarray(array, np.float32 if compact else array.dtype)

    return {QUANT_STATS: {}, **jax.tree.map(read, unflatten_dict(found, sep="/"))}


def make_evaluator(
    config: ExperimentConfig,
    evaluation: EvaluationConfig,
    policy: PrecisionPolicy,
    frontend: Frontend,
    tokenizer: Tokenizer,
    splits: Sequence[Split],
    data_dir: pathlib.Path,
    mesh: Mesh | None = None,
) -> StreamingEvaluator:
    """Returns a streaming evaluator for variables of the experiment's model under a policy.

    Args:
      config: the experiment.
      evaluation: how test sets are decoded.
      policy: precision policy of the model.
      frontend: computes features from audio.
      tokenizer: maps labels to text.
      splits: the test sets.
      data_dir: folder of the prepared corpora.
      mesh: devices to decode on; None for all devices.
    """
    mesh = make_mesh() if mesh is None else mesh
    evaluation.require_whole_frames(config.frontend.frame_ms * config.model.encoder.time_reduction)
    rate_hz = config.frontend.log_mel.sample_rate_hz
    source = Mixture([open_corpus(data_dir, s.corpus, s.split, rate_hz) for s in splits])
    batches = EvalBatches(
        source,
        tokenizer,
        config.frontend,
        config.pipeline,
        row_multiple=mesh.devices.size,
        process_index=jax.process_index(),
        process_count=jax.process_count(),
    )
    model = RNNT(config.model, policy)
    return StreamingEvaluator(
        evaluation,
        lambda variables: BoundTransducer(variables=variables, model=model),
        frontend,
        tokenizer,
        batches,
        references=source,
        mesh=mesh,
        name="+".join(split.name for split in splits),
    )
