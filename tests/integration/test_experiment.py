"""From recordings to text: words that are tones are learned, kept on the chip, streamed."""

import dataclasses
import io
import itertools
import json
import shutil
import sys
import types

import jax
import numpy as np
import pytest
import soundfile
from absl import flags
from absl.testing import flagsaver

from data.librispeech.builder import LibriSpeech
from data.librispeech.folder import FolderSource
from experiments import transcribe
from rnnt_qat.accelerators.generic_nna import GENERIC_NNA
from rnnt_qat.evaluation.streaming_evaluator import EvaluationConfig
from rnnt_qat.experiment.config import DataConfig, ExperimentConfig, Split
from rnnt_qat.experiment.recognizer import ModelDirectoryError, Recognizer, find_models
from rnnt_qat.experiment.recognizer_engine import RecognizerEngine
from rnnt_qat.experiment.runner import Experiment
from rnnt_qat.experiment.transcriber import LiveTranscriber
from rnnt_qat.frontend.frontend import FrontendConfig
from rnnt_qat.frontend.log_mel import LogMelConfig
from rnnt_qat.frontend.spec_augment import SpecAugmentConfig
from rnnt_qat.infra.config import to_json
from rnnt_qat.infra.console import Console
from rnnt_qat.input_pipeline.config import PipelineConfig
from rnnt_qat.input_pipeline.corpus import open_corpus
from rnnt_qat.models.encoder import EncoderConfig
from rnnt_qat.models.prediction import StatelessPredictionConfig
from rnnt_qat.models.rnnt import RNNTConfig
from rnnt_qat.quant.nna_precision import OnAccelerator
from rnnt_qat.quant.quantized_module import QUANT_STATS
from rnnt_qat.studies.cells import Cell, cells_of, results_of
from rnnt_qat.studies.comparison import compare_recognizers, write_comparison
from rnnt_qat.studies.diagnosis import diagnose, write_diagnosis
from rnnt_qat.studies.engine import InProcess
from rnnt_qat.studies.grid import grid_rows
from rnnt_qat.studies.sweep import SweepConfig
from rnnt_qat.training.checkpoints import ConfigMismatchError
from rnnt_qat.training.loop import LoopConfig
from rnnt_qat.training.metrics import read_records
from rnnt_qat.training.optimizer import OptimizerConfig
from rnnt_qat.training.stages import Calibration, TrainingStage
from rnnt_qat.training.task import FLOAT32
from rnnt_qat.training.update import Frozen

RATE_HZ = 16_000
WORDS = {"a": 300.0, "be": 900.0, "ski": 2500.0}
CORPUS = "librispeech/by_speaker"


def say(words, rng):
    """Each word is a tone of its pitch, with a pause after it."""
    pieces = []
    for word in words:
        seconds = rng.uniform(0.2, 0.3)
        phase = 2 * np.pi * WORDS[word] * np.arange(int(seconds * RATE_HZ)) / RATE_HZ
        pieces += [0.3 * np.sin(phase + rng.uniform(0, 6)), np.zeros(int(0.1 * RATE_HZ))]
    audio = np.concatenate(pieces) + 0.003 * rng.normal(size=sum(map(len, pieces)))
    return (32767 * audio).astype(np.int16)


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    root = tmp_path_factory.mktemp("tones")
    rng = np.random.default_rng(0)
    sentences = list(itertools.product(WORDS, repeat=3))
    for speaker, chosen in {"1": sentences * 2, "2": sentences[::4], "3": sentences[1::3]}.items():
        chapter = root / "speech" / speaker / "0"
        chapter.mkdir(parents=True)
        lines = []
        for number, words in enumerate(chosen):
            name = f"{speaker}-0-{number:04d}"
            soundfile.write(chapter / f"{name}.flac", say(words, rng), RATE_HZ)
            lines.append(f"{name} {' '.join(words).upper()}\n")
        (chapter / f"{speaker}-0.trans.txt").write_text("".join(lines))
    LibriSpeech(
        data_dir=root / "corpora",
        source=FolderSource(root / "speech"),
        workers=1,
        validation_speakers=["2"],
        test_speakers=["3"],
    ).prepare()
    return root / "corpora"


def config():
    optimizer = OptimizerConfig(learning_rate=1e-2, warmup_steps=10, ema_decay=0.9)
    return ExperimentConfig(
        data=DataConfig(
            train=(Split(CORPUS, "train"),),
            validation=(Split(CORPUS, "validation"),),
            test=(Split(CORPUS, "test"),),
        ),
        model=RNNTConfig(
            vocabulary=29,
            encoder=EncoderConfig(num_layers=1, hidden_size=32, layers_before_reduction=0),
            prediction=StatelessPredictionConfig(embedding_size=16),
            joint_size=32,
        ),
        frontend=FrontendConfig(LogMelConfig(num_mel_bins=20), stack=3),
        spec_augment=SpecAugmentConfig(freq_masks=0, freq_mask_bins=0, max_time_masks=0),
        pipeline=PipelineConfig(num_buckets=1, batch_seconds=24.0, frame_multiple=2),
        stages=(
            TrainingStage("float", 150, FLOAT32, optimizer),
            Calibration(batches=2),
            TrainingStage(
                "aware", 20, optimizer=dataclasses.replace(optimizer, learning_rate=1e-3)
            ),
        ),
        loop=LoopConfig(log_every=10, evaluate_every=1000),
        evaluation=EvaluationConfig(chunk_ms=(240.0,)),
    )


@pytest.fixture(scope="module")
def run(data_dir, tmp_path_factory):
    """A trained experiment's working directory, and its recognizers by stage."""
    workdir = tmp_path_factory.mktemp("run")
    return workdir, Experiment(config(), data_dir, workdir, Console(io.StringIO())).train()


@pytest.mark.slow
def test_words_are_learned_and_stay_learned_on_the_chip(run, data_dir):
    workdir, recognizers = run
    assert list(recognizers) == ["float", "calibration", "aware"]
    results = compare_recognizers(
        recognizers, config().data.test, config().evaluation, data_dir, Console(io.StringIO())
    )
    assert [r.system for r in results] == ["float", "calibration", "aware"]
    assert results[0].wer.value < 0.1
    assert results[2].wer.value < 0.1
    report = write_comparison(
        workdir / "report", results, data_dir, recognizers["float"], workdir / "metrics.jsonl"
    )
    text = report.read_text()
    assert all(f"]({name}.png)" in text for name in ("wer", "training", "emissions"))
    assert "commit" in json.loads(report.with_name("provenance.json").read_text())


@pytest.mark.slow
def test_what_was_run_is_written_beside_it(run):
    workdir, _ = run
    assert json.loads((workdir / "config.json").read_text()) == to_json(config())
    provenance = json.loads((workdir / "provenance.json").read_text())
    assert {"commit", "command", "packages"} <= provenance.keys()
    records = read_records(workdir / "metrics.jsonl")
    assert [r["stage"] for r in records if "wer" in r] == ["float", "calibration", "aware"]
    losses = [r["loss"] for r in records if r["stage"] == "float" and "loss" in r]
    assert losses[-1] < 0.2 * losses[0]


@pytest.mark.slow
def test_finished_run_is_left_as_it_is(run, data_dir):
    workdir, recognizers = run
    before = (workdir / "metrics.jsonl").read_bytes()
    again = Experiment(config(), data_dir, workdir, Console(io.StringIO())).train()
    assert (workdir / "metrics.jsonl").read_bytes() == before
    assert again["aware"].origin == recognizers["aware"].origin
    other = dataclasses.replace(config(), seed=1)
    with pytest.raises(ConfigMismatchError, match="seed: 0 before, 1 now"):
        Experiment(other, data_dir, workdir, Console(io.StringIO())).train()


@pytest.mark.slow
def test_fields_of_which_no_parameter_is_made_may_differ(run, data_dir, tmp_path):
    """The closing table is told again, with the models' places."""
    workdir, recognizers = run
    copy, console = shutil.copytree(workdir, tmp_path / "copy"), io.StringIO()
    other = dataclasses.replace(
        config(),
        evaluation=EvaluationConfig(chunk_ms=(480.0,)),
        loop=LoopConfig(log_every=5, evaluate_every=70),
    )
    again = Experiment(other, data_dir, copy, Console(console)).train()
    assert {s: r.origin for s, r in again.items()} == {s: r.origin for s, r in recognizers.items()}
    said = console.getvalue()
    for line in (
        "evaluation.chunk_ms: [240.0] before, [480.0] now",
        "loop.log_every: 10 before, 5 now",
        "loop.evaluate_every: 1000 before, 70 now",
    ):
        assert line in said, said
    assert "next: " not in said  # a run of a sweep ends so too
    for stage, recognizer in recognizers.items():
        step, wer = recognizer.origin["step"], 100 * recognizer.origin["wer"]
        (row,) = [line for line in said.splitlines() if line.endswith(f"/models/{stage}")]
        assert row.split()[:6] == [stage, "step", str(step), "validation", "WER", f"{wer:.1f}"]
        assert (copy / "models" / stage / "recognizer.json").exists()


@pytest.mark.slow
def test_training_may_end_after_a_stage(run, data_dir, tmp_path):
    workdir, recognizers = run
    shutil.copytree(workdir, tmp_path / "copy")
    experiment = Experiment(config(), data_dir, tmp_path / "copy", Console(io.StringIO()))
    (stage, recognizer), *others = experiment.train(last_stage="float").items()
    assert (stage, others) == ("float", [])
    assert recognizer.origin == recognizers["float"].origin


@pytest.mark.slow
def test_model_directory_hears_in_a_stream_what_the_evaluator_heard(run, data_dir):
    workdir, _ = run
    assert [d.name for d in find_models(workdir)] == ["float", "calibration", "aware"]
    recognizer = Recognizer.load(workdir / "models/aware")
    assert recognizer.policy.name == "w8a8"
    split = config().data.test[0]
    evaluator = recognizer.evaluator([split], config().evaluation, data_dir)
    (result,) = evaluator.evaluate(recognizer.variables)
    heard = {u.id: u.hypothesis for u in result.utterances}

    engine = RecognizerEngine(recognizer, config().evaluation.search, 240.0)
    transcriber = LiveTranscriber(engine)
    for utterance in (evaluator._references[i] for i in range(3)):
        pieces = np.array_split(utterance.audio, 7)  # pieces of no particular length
        *partials, final = found = list(transcriber.transcribe(pieces))
        words = [word.text for transcript in found for word in transcript.words]
        assert words == heard[utterance.id].split()
        assert final.final
        assert not any(p.final for p in partials)
        assert len(partials) == -(-len(utterance.audio) // transcriber.chunk_samples)
        assert final.seconds == pytest.approx(utterance.duration_s)


@pytest.mark.slow
def test_files_and_a_microphone_are_transcribed_alike(run, data_dir, tmp_path, monkeypatch, capsys):
    audio = open_corpus(data_dir, CORPUS, "test")[0].audio
    files = [str(tmp_path / name) for name in ("a.wav", "b.flac")]
    for file in files:
        soundfile.write(file, audio, RATE_HZ)
    pcm = types.SimpleNamespace(buffer=io.BytesIO(audio.astype("<i2").tobytes()))
    monkeypatch.setattr(sys, "stdin", pcm)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    flags.FLAGS.mark_as_parsed()
    model = str(run[0] / "models/aware")
    with flagsaver.flagsaver(model=model, audio=[*files, "-"], endpoint="off"):
        transcribe.main()
    printed = capsys.readouterr()
    names, texts = zip(*(line.split("\t") for line in printed.out.splitlines()), strict=True)
    assert names == (*files, "-")
    assert set(texts[0].split()) <= WORDS.keys()
    assert texts[0]
    assert len(set(texts)) == 1
    first = texts[0].split()[0]
    assert f"s  {first}" in printed.err  # partials, before the end
    flags.FLAGS.unparse_flags()


@pytest.mark.slow
def test_model_directory_of_mixed_origin_is_refused(run, tmp_path):
    workdir, _ = run
    shutil.copytree(workdir / "models/aware", tmp_path / "mixed")
    shutil.copy(workdir / "models/float/variables.npz", tmp_path / "mixed/variables.npz")
    with pytest.raises(ModelDirectoryError, match=r"variables\.npz is damaged .* changed"):
        Recognizer.load(tmp_path / "mixed")
    manifest = json.loads((tmp_path / "mixed/recognizer.json").read_text())
    del manifest["sha256"]  # of a version that took no checksums
    (tmp_path / "mixed/recognizer.json").write_text(json.dumps(manifest))
    with pytest.raises(ModelDirectoryError, match=r"quant_stats/encoder/.* missing"):
        Recognizer.load(tmp_path / "mixed")


@pytest.mark.slow
def test_starts_from_a_model(run, data_dir, tmp_path):
    workdir, _ = run
    stages = (Calibration(batches=2),)
    directory = str(workdir / "models/float")
    started = dataclasses.replace(
        config(),
        data=dataclasses.replace(config().data, validation=()),
        precision="w4a8",
        stages=stages,
        initialize_from=directory,
    )
    recognizers = Experiment(started, data_dir, tmp_path, Console(io.StringIO())).train()
    assert list(recognizers) == ["calibration"]
    assert recognizers["calibration"].policy.name == "w4a8"
    origin = {"stage": "calibration", "step": 2, "wer": None, "trained": False}
    assert recognizers["calibration"].origin == origin
    larger = dataclasses.replace(started, model=dataclasses.replace(started.model, joint_size=33))
    with pytest.raises(ConfigMismatchError, match=r"model\.joint_size: 32 before, 33 now"):
        Experiment(larger, data_dir, tmp_path / "b", Console(io.StringIO())).train()


@pytest.mark.slow
def test_diagnosis_is_a_table_a_picture_and_metrics(run, data_dir, tmp_path):
    workdir, recognizers = run
    split = config().data.test[0]
    rows = diagnose(recognizers["aware"], split, data_dir, num_batches=1)
    found = {(row.layer, row.tensor, row.operator): row for row in rows}
    assert found["joint", "kernel", "quantize"].sqnr_db > 20
    assert found["encoder/lstm_0", "gate", "sigmoid"].sqnr_db == np.inf  # in floating point
    picture = write_diagnosis(tmp_path, "aware", rows)
    assert picture.stat().st_size > 10_000
    assert "| joint | kernel | quantize |" in (tmp_path / "diagnosis-aware.md").read_text()

    experiment = Experiment(config(), data_dir, workdir, Console(io.StringIO()), diagnose=True)
    variables = recognizers["aware"].variables
    calls = []
    metrics = experiment.task.under("").evaluate(
        variables["params"], variables[QUANT_STATS], lambda *call: calls.append(call)
    )
    done, total, programs_left = zip(*calls, strict=True)
    assert list(done) == sorted(done)
    assert done[-1] < total[-1] == total[0]  # the last batch is reported by the step's end
    assert programs_left[-1] == 0
    assert metrics["diagnostics/joint/kernel/quantize/sqnr_db"] > 20


@pytest.mark.slow
def test_sweep_keeps_model_directories_and_tells_each_system(run, data_dir, tmp_path):
    workdir, _ = run
    policies = SweepConfig(policies=("generic_nna@joint", "float32"), aware_steps=2)
    said = io.StringIO()
    splits, evaluation = config().data.test, config().evaluation
    model, steps = str(workdir / "models/float"), policies.aware_steps
    first = Cell(model, None, steps, splits, evaluation, data_dir, str(tmp_path))
    cells = cells_of(first, policies.policies)
    InProcess().run(cells, Console(said))
    measured = [each for cell in cells for each in cell.measurements()]
    assert "measured before" not in said.getvalue()
    systems = [each.system for each in measured]
    names = [system.name for system in systems]
    part = "generic_nna@joint"
    assert names == ["(a) float32", f"{part}, calibrated", f"{part}, trained", "float32, trained"]
    sizes = [system.bytes for system in systems]
    assert sizes[0] == sizes[3] > sizes[1] == sizes[2]
    kept = Recognizer.load(tmp_path / "generic_nna@joint/models/aware")
    assert kept.policy.resolve(("joint",)) == OnAccelerator(GENERIC_NNA)
    rows = grid_rows([results_of(measured)], systems)
    assert [row["system"] for row in rows] == names
    InProcess().run(cells, Console(said))
    assert [each for cell in cells for each in cell.measurements()] == measured
    assert said.getvalue().count("measured before") == 3
    assert rows[2]["wer"] < 0.2


@pytest.mark.slow
def test_features_may_be_computed_in_the_pipeline_or_on_the_device(data_dir, tmp_path):
    losses = []
    for on_host in (True, False):
        pipeline = dataclasses.replace(config().pipeline, features_on_host=on_host)
        parts = dataclasses.replace(config(), pipeline=pipeline)
        experiment = Experiment(parts, data_dir, tmp_path, Console(io.StringIO()))
        params = experiment.initial_state().params
        batch = next(experiment.iterator())
        loss = experiment.task.under(FLOAT32).loss(experiment.task.objectives)
        losses.append(jax.jit(loss)(params, Frozen(), batch, 0, jax.random.key(0)))
    for name in ("loss", "present", "feasible", "labels", "audio_seconds"):
        np.testing.assert_allclose(*(getattr(rows, name) for rows in losses), rtol=1e-5)
    assert losses[0].feasible.sum() > 0


def test_directory_without_a_model_says_where_there_is_one(tmp_path):
    (tmp_path / "models/float").mkdir(parents=True)
    (tmp_path / "models/float/recognizer.json").write_text("{}")
    with pytest.raises(ModelDirectoryError, match=r"there are .*models/float"):
        Recognizer.load(tmp_path)
