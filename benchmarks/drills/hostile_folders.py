"""Damaged folders: models with their tokenizers, checkpoints, artefacts, prepared corpora."""

import contextlib
import functools
import io
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

from benchmarks.drills.hostile import REFUSALS, Drill, TakenSilentlyError, damage
from data.corpus import CorpusBuilder
from data.encoding import Recording
from experiments.configs import prompts_smoke
from rnnt_qat.artefact import artefact as artefacts
from rnnt_qat.experiment.recognizer import Recognizer
from rnnt_qat.frontend.frontend import Frontend
from rnnt_qat.frontend.statistics import FeatureStats
from rnnt_qat.infra.config import to_json
from rnnt_qat.infra.mesh import make_mesh, replicated
from rnnt_qat.input_pipeline.corpus import open_corpus
from rnnt_qat.input_pipeline.tokenizer import CharacterTokenizer
from rnnt_qat.models.rnnt import RNNT, example_inputs
from rnnt_qat.quant.policies import FLOAT32
from rnnt_qat.quant.quantized_module import QUANT_STATS
from rnnt_qat.training.checkpoints import Checkpoints

Content = Any
"""What a folder holds, comparable leaf by leaf."""


def _make_model(folder: Path) -> None:
    config = prompts_smoke.experiment()
    bins = config.frontend.log_mel.num_mel_bins
    stats = FeatureStats(np.zeros(bins, np.float32), np.ones(bins, np.float32))
    inputs = example_inputs(config.model, config.frontend.feature_size)
    params = jax.jit(RNNT(config.model, FLOAT32).init)(jax.random.key(0), *inputs)["params"]
    variables = {"params": params, QUANT_STATS: {}}
    frontend = Frontend(config.frontend, stats)
    Recognizer(config, FLOAT32, variables, frontend, CharacterTokenizer(), {}).save(folder)


def _read_model(folder: Path) -> Content:
    model = Recognizer.load(folder)
    stats = model.frontend.stats
    text = (repr(to_json(model.config)), model.tokenizer.vocab_size)
    return (*jax.tree.leaves(model.variables), stats.mean, stats.std, *text)


class _Tones(CorpusBuilder):
    """A few seconds of noise."""

    VERSION = "1.0.0"
    DESCRIPTION = "Noise."

    def sources(self) -> dict[str, Any]:
        return {}

    def list_recordings(self) -> dict[str, list[Recording]]:
        return {
            "test": [
                Recording(f"id-{i}", "s", "some words", functools.partial(_noise, i))
                for i in range(4)
            ]
        }


def _noise(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(-9000, 9000, 16000).astype(np.int16)


def _make_corpus(folder: Path) -> None:
    silent = io.StringIO()
    with contextlib.redirect_stdout(silent), contextlib.redirect_stderr(silent):
        made = _Tones(data_dir=folder.parent / "made", workers=1).prepare()
    shutil.move(made, folder)


def _read_corpus(folder: Path) -> Content:
    corpus = open_corpus(folder.parent, folder.name, "test")
    fields = [(u.id, u.speaker, u.text) for u in corpus]
    return (*(u.audio for u in corpus), fields, corpus.language, corpus.characters)


def _make_artefact(folder: Path) -> None:
    from tests.artefact.test_artefact import artefact
    from tests.export.random_integers import random_rnnt

    artefacts.save(artefact(random_rnnt(np.random.default_rng(0), wide=False)), folder)


def _read_artefact(folder: Path) -> Content:
    loaded = artefacts.load(folder)
    return repr(loaded)


def _make_checkpoint(folder: Path) -> None:
    from tests.training.toy import create_state

    checkpoints = Checkpoints(folder, {"seed": 0})
    checkpoints.save(3, jax.jit(create_state)(), {"batch": 7}, 0.5)
    checkpoints.close()


def _read_checkpoint(folder: Path) -> Content:
    from tests.training.toy import create_state

    template = jax.eval_shape(create_state)
    checkpoints = Checkpoints(folder, {"seed": 0})
    try:
        shardings = jax.tree.map(lambda _: replicated(make_mesh()), template)
        restored = checkpoints.restore(3, template, shardings)
    finally:
        checkpoints.close()
    return (*map(_numbers, jax.tree.leaves(restored.state)), repr(restored.iterator_state))


def _numbers(leaf: Any) -> np.ndarray:
    is_key = jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)
    return np.asarray(jax.random.key_data(leaf) if is_key else leaf)


MAKERS: dict[str, tuple[Callable[[Path], None], Callable[[Path], Content]]] = {
    "model directories": (_make_model, _read_model),
    "checkpoints": (_make_checkpoint, _read_checkpoint),
    "artefacts": (_make_artefact, _read_artefact),
    "prepared corpora": (_make_corpus, _read_corpus),
}


@functools.cache
def _whole(name: str) -> tuple[Path, Content]:
    """A folder as it should be, made once a process, and what it holds."""
    make, read = MAKERS[name]
    folder = Path(tempfile.mkdtemp(prefix="whole")) / "1.0.0"
    try:
        make(folder)
        return folder, read(folder)
    except REFUSALS as error:  # no refusal of a damaged one
        raise RuntimeError(f"whole {name} are not read: {error}") from error


def check(name: str, rng: np.random.Generator, folder: Path) -> None:
    """Damages, deletes or swaps one file, and reads the folder."""
    whole, content = _whole(name)
    copy = folder / "1.0.0"
    shutil.copytree(whole, copy)
    files = sorted(path for path in copy.rglob("*") if path.is_file())
    path = files[rng.integers(len(files))]
    if rng.random() < 0.1:
        path.unlink()
    else:
        path.write_bytes(damage(rng, path.read_bytes()))
    if not _equal(MAKERS[name][1](copy), content):
        raise TakenSilentlyError(f"{path.name} was damaged and other content was read")


def _equal(a: Content, b: Content) -> bool:
    if isinstance(a, tuple):
        return len(a) == len(b) and all(map(_equal, a, b))
    return bool(np.array_equal(a, b)) if hasattr(a, "shape") else a == b


DRILLS = tuple(
    Drill(name, functools.partial(check, name), share)
    for name, share in zip(MAKERS, (0.03, 0.01, 0.03, 0.03), strict=True)
)
