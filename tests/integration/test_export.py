"""From model directories to the chip by one command: what it writes, and that nothing differs."""

import csv
import dataclasses
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import soundfile

from experiments.flags import DATA_DIR
from rnnt_qat.artefact.artefact import load
from rnnt_qat.artefact.player import recognize
from rnnt_qat.artefact.tosa_arithmetic import TOSA
from rnnt_qat.evaluation.report import load_result
from rnnt_qat.experiment.recognizer import ModelDirectoryError, Recognizer
from rnnt_qat.export.freeze import FreezeError
from rnnt_qat.frontend.frontend import Frontend
from rnnt_qat.frontend.statistics import FeatureStats
from rnnt_qat.input_pipeline.corpus import open_corpus
from rnnt_qat.input_pipeline.tokenizer import CharacterTokenizer
from rnnt_qat.latency.engine_latency import DecodeCounts
from rnnt_qat.models.rnnt import RNNT, example_inputs
from rnnt_qat.quant.policies import policy_by_name
from rnnt_qat.quant.quantized_module import QUANT_STATS
from rnnt_qat.studies.chip_systems import load_systems, require_a_chip
from rnnt_qat.studies.deployment import decode_counts, utterance_features
from tests.integration.test_experiment import CORPUS, config, data_dir  # noqa: F401

CHIP, FALLBACK = "ethos_u_8x8_16", "w8a8"


def recognizer(policy_name, variables, heard):
    """A recognizer of random weights; a chip's is calibrated on its test data."""
    experiment = dataclasses.replace(config(), precision=CHIP)
    policy = policy_by_name(policy_name)
    calibrating = RNNT(experiment.model, policy.calibration())
    features = jnp.asarray(heard[None])
    batch = (features, jnp.array([heard.shape[0]]), jnp.array([[3, 9]]), jnp.array([2]))
    _, ranges = jax.jit(lambda v: calibrating.apply(v, *batch, mutable=[QUANT_STATS]))(variables)
    return dataclasses.replace(
        bare(experiment), policy=policy, variables=jax.tree.map(np.asarray, {**variables, **ranges})
    )


def bare(experiment):
    bins = experiment.frontend.log_mel.num_mel_bins
    stats = FeatureStats(np.full(bins, -8, np.float32), np.full(bins, 3, np.float32))
    return Recognizer(
        config=experiment,
        policy=policy_by_name("float32"),
        variables={},
        frontend=Frontend(experiment.frontend, stats),
        tokenizer=CharacterTokenizer(),
        origin={"stage": "calibration", "step": 2, "wer": None},
    )


@pytest.fixture(scope="module")
def exported(data_dir, tmp_path_factory):  # noqa: F811
    root = tmp_path_factory.mktemp("export")
    experiment = config()
    corpus = open_corpus(data_dir, CORPUS, "test")
    heard = next(iter(utterance_features(bare(experiment).frontend, corpus))).features
    inputs = example_inputs(experiment.model, experiment.frontend.feature_size)
    shapes = jax.eval_shape(RNNT(experiment.model, policy_by_name("float32")).init,
                            jax.random.key(0), *inputs)  # fmt: skip
    rng = np.random.default_rng(0)
    variables = jax.tree.map(lambda x: rng.normal(0, 0.4, x.shape).astype(np.float32), shapes)
    for name, policy in (("float", "float32"), ("calibration", CHIP), ("matmul", FALLBACK)):
        recognizer(policy, dict(variables), heard).save(root / "models" / name)
    recognizer("generic_nna", dict(variables), heard).save(root / "own_chip")
    recognizer("tosa_16x8", dict(variables), heard).save(root / "tosa")
    command = [sys.executable, "-m", "experiments.export", f"--model={root / 'models'}"]
    command += [f"--{DATA_DIR.name}={data_dir}", f"--output={root / 'out'}"]
    command += ["--targets=u55-128", "--chunks=1,2"]
    return root, subprocess.run(command, check=False, capture_output=True, text=True), command


@pytest.mark.slow
def test_the_command_writes_everything_and_finds_no_difference(exported):
    root, run, _ = exported
    assert run.returncode == 0, run.stderr[-3000:]
    assert "0 differing tokens, 0 of" in run.stderr
    out = root / "out"
    chip = out / "post-training_W8_8x8_16"
    names = {str(path.relative_to(chip)) for path in chip.rglob("*") if path.is_file()}
    graphs = ("encoder_1", "encoder_2", "prediction", "joint")
    assert names == {
        "artefact/manifest.json",
        "artefact/arrays.npz",
        *(f"{graph}.tflite" for graph in graphs),
        *(f"{graph}_u55-128.tflite" for graph in graphs),
        *(
            f"serving/{name}"
            for name in ("start.stablehlo", "step.stablehlo", "finish.stablehlo", "signature.txt")
        ),
    }
    report = (out / "report.md").read_text()
    for text in (
        "| float | 32 | ",
        "## Replay",
        "### Ratios",
        "](sensitivity_u55-128.png)",
        "evaluation/report.md",
    ):
        assert text in report
    rows = list(csv.DictReader((out / "latency.csv").open()))
    assert [(r["system"], r["chunk_frames"]) for r in rows] == [
        (system, chunk)
        for system in ("post-training W8 8x8_16", "CPU fallback W8A8, calibrated")
        for chunk in ("1", "2")
    ]
    assert [float(r["npu_share"]) == 1 for r in rows] == [True, True, False, False]
    assert len(list(out.glob("pareto_*.png"))) == 2


@pytest.mark.slow
def test_the_artefact_alone_hears_and_counts_what_the_model_did(exported, data_dir):  # noqa: F811
    root, run, _ = exported
    assert run.returncode == 0
    (recognizer,) = load_systems([root / "models/calibration"]).values()
    artefact = load(root / "out/post-training_W8_8x8_16/artefact")
    corpus = open_corpus(data_dir, CORPUS, "test")
    found = [
        recognize(artefact, u.features, 4) for u in utterance_features(recognizer.frontend, corpus)
    ]
    (path,) = (root / "out/evaluation").glob("*post-training*.json")
    result = load_result(path)
    assert [text for text, _ in found] == [u.hypothesis for u in result.utterances]
    assert any(text for text, _ in found)
    soundfile.write(root / "first.wav", corpus[0].audio, 16_000)
    command = [sys.executable, "-m", "experiments.transcribe", f"--audio={root / 'first.wav'}"]
    command += [f"--model={root / 'out/post-training_W8_8x8_16/artefact'}"]
    played = subprocess.run(command, check=True, capture_output=True, text=True)
    assert played.stdout == f"{root / 'first.wav'}\t{found[0][0]}\n"
    counted = decode_counts(recognizer, result, 2)
    seconds = np.array([u.audio_s for u in result.utterances])
    expected = DecodeCounts.of_transcripts([transcript for _, transcript in found], seconds)
    for name, values in vars(expected).items():
        np.testing.assert_array_equal(getattr(counted, name), values, err_msg=name)


@pytest.mark.slow
def test_a_tosa_model_is_lowered_and_replayed_but_not_compiled(exported, data_dir):  # noqa: F811
    root, _, _ = exported
    command = [sys.executable, "-m", "experiments.export", f"--model={root / 'tosa'}", "--chunks=2"]
    command += [f"--{DATA_DIR.name}={data_dir}", f"--output={root / 'tosa_out'}"]
    run = subprocess.run(command, check=False, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr[-3000:]
    assert "0 differing tokens, 0 of" in run.stderr
    assert "not compiled, has no latency: Ethos-U computes other integers than tosa_16x8" in (
        run.stderr
    )
    folder = root / "tosa_out/post-training_W8_tosa_16x8"
    graphs = {"encoder_2", "prediction", "joint"}
    for kind in ("tflite", "tosa"):
        assert {path.stem for path in folder.glob(f"*.{kind}")} == graphs
    assert load(folder / "artefact").model.arithmetic == TOSA
    report = (root / "tosa_out/report.md").read_text()
    assert "| TOSA reference model | 2 | " in report
    assert "Engine latency" not in report
    assert not list(csv.DictReader((root / "tosa_out/latency.csv").open()))


@pytest.mark.slow
def test_nothing_is_written_over_and_empty_directories_are_named(exported, tmp_path):
    _, _, command = exported
    again = subprocess.run(command, check=False, capture_output=True, text=True)
    assert again.returncode == 2
    assert "is not empty" in again.stderr
    with pytest.raises(ModelDirectoryError, match="holds no recognizer"):
        load_systems([tmp_path])


@pytest.mark.slow
def test_a_chip_without_a_runtime_is_refused_by_the_model_s_name(exported):
    root, _, _ = exported
    with pytest.raises(FreezeError, match="own_chip: generic_nna is no chip to export to") as error:
        load_systems([root / "models/float", root / "own_chip"])
    assert "--policies=ethos_u_8x8_16" in str(error.value)


@pytest.mark.slow
def test_models_of_no_chip_are_refused_with_the_way_to_one(exported):
    root, _, _ = exported
    systems = load_systems([root / "models/float", root / "models/matmul"])
    with pytest.raises(FreezeError, match=r"no artefact .*float32, w8a8.*--policies=ethos_u_8x8"):
        require_a_chip(systems)
