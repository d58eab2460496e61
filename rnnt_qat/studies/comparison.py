"""Evaluation of several recognizers on several test sets, with a comparison report."""

import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import jax

from rnnt_qat.batch import to_float
from rnnt_qat.evaluation.report import write_report
from rnnt_qat.evaluation.result import EvaluationResult
from rnnt_qat.evaluation.streaming_evaluator import EvaluationConfig
from rnnt_qat.experiment.config import Split
from rnnt_qat.experiment.recognizer import Recognizer
from rnnt_qat.experiment.test_sets import decode_test_sets
from rnnt_qat.infra.console import Console
from rnnt_qat.infra.progress import Progress
from rnnt_qat.infra.provenance import provenance
from rnnt_qat.input_pipeline.corpus import open_corpus
from rnnt_qat.quant.audit import require_on_chip
from rnnt_qat.quant.policies import FLOAT32
from rnnt_qat.serving.size import model_bytes
from rnnt_qat.training.metrics import read_records


def compare_recognizers(
    recognizers: Mapping[str, Recognizer],
    splits: Sequence[Split],
    evaluation: EvaluationConfig,
    data_dir: pathlib.Path,
    console: Console,
) -> list[EvaluationResult]:
    """Decodes every test set with every recognizer.

    Args:
      recognizers: recognizers by name; the first one is the baseline of the others.
      splits: test sets.
      evaluation: how test sets are decoded.
      data_dir: folder of the prepared corpora.
      console: output of progress lines.

    Returns:
      The results, grouped by test set.

    Raises:
      AuditError: if a serving program runs operators off the chip that its policy puts on it.
    """
    for name, recognizer in recognizers.items():
        with Progress(f"auditing {name}", console):
            off_chip = recognizer.audit()
        require_on_chip(off_chip)
        if off_chip and recognizer.policy != FLOAT32:  # a float model has no chip to run on
            layers = {operator.layer for operator in off_chip}
            console.say(
                f"{name}  {len(off_chip)} operators in {len(layers)} places stay on the CPU"
            )
    results = []
    for name, recognizer in recognizers.items():
        for result in decode_test_sets(recognizer, splits, evaluation, data_dir, name, console):
            wer, chunk = result.wer, result.chunk_ms
            console.say(
                f"{result.test_set}  {name}  {f'{chunk:g} ms' if chunk else 'whole'}  "
                f"WER {wer.value:.1%} [{wer.low:.1%}, {wer.high:.1%}]"
            )
            results.append(result)
    order = [split.name for split in splits]
    return sorted(results, key=lambda result: order.index(result.test_set))


def name_with_beam(system: str, beam_size: int) -> str:
    """Returns the name of a system in results of a beam search of ``beam_size``."""
    return f"{system}, beam of {beam_size}"


def write_comparison(
    directory: pathlib.Path,
    results: Sequence[EvaluationResult],
    data_dir: pathlib.Path,
    recognizer: Recognizer,
    metrics: pathlib.Path | None = None,
    systems: Mapping[str, Recognizer] | None = None,
    links: Mapping[str, str] | None = None,
) -> pathlib.Path:
    """Writes ``report.md`` with plots, each result as JSON, and provenance.

    Args:
      directory: output folder; created if missing.
      results: results of ``compare_recognizers``.
      data_dir: folder of the corpora of the results.
      recognizer: one of the compared recognizers, whose frontend computes the spectrogram.
      metrics: ``metrics.jsonl`` of a training run, for its curves.
      systems: the recognizers by name, for a table of their policies, origins and sizes.
      links: related files by title; paths relative to the report.

    Returns:
      The report's path.
    """
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "provenance.json").write_text(json.dumps(provenance(), indent=2) + "\n")
    # A slow import, needed once there are results.
    from rnnt_qat.evaluation.plots import plot_emissions, plot_training_curves, plot_wer_bars

    plots = {"Word error rates with intervals": "wer.png"}
    plot_wer_bars(directory / "wer.png", results)
    if metrics is not None and metrics.exists():
        plots["Training loss and validation word error rates"] = "training.png"
        plot_training_curves(directory / "training.png", read_records(metrics))

    last = results[-1]
    example = max(last.utterances, key=lambda u: len(u.tokens) * (u.audio_s < 4.0))
    corpus, _, split = last.test_set.rpartition(":")
    rate_hz = recognizer.config.frontend.log_mel.sample_rate_hz
    source = open_corpus(data_dir, corpus, split, rate_hz)
    audio = to_float(source[source.ids.index(example.id)].audio)
    plots[f"Tokens at the time of their emission: {example.id}, {last.system}"] = "emissions.png"
    plot_emissions(
        directory / "emissions.png", audio, recognizer.config.frontend.log_mel, last, example
    )
    if systems:
        facts = {name: _facts(recognizer) for name, recognizer in systems.items()}
        (directory / "systems.json").write_text(json.dumps(facts, indent=1) + "\n")
    parts = [systems_table(systems)] if systems else []
    parts += [f"[{title}]({file})" for title, file in (links or {}).items()]
    return write_report(directory, results, plots, "\n\n".join(parts))


def systems_table(systems: Mapping[str, Recognizer]) -> str:
    """Returns a Markdown table of each recognizer's policy, origin and size."""
    lines = [
        "| system | policy | stage, step | parameters | on the chip |",
        "| --- | --- | --- | ---: | ---: |",
    ]
    for name, recognizer in systems.items():
        facts = _facts(recognizer)
        stage = f"{facts['stage']}, {facts['step']}" if facts["stage"] else "-"
        lines.append(
            f"| {name} | `{facts['policy']}` | {stage} | {facts['parameters']:,} | "
            f"{facts['bytes'] / 1000:,.0f} kB |"
        )
    return "\n".join(lines)


def _facts(recognizer: Recognizer) -> dict[str, Any]:
    """Returns a recognizer's policy, origin and size as JSON."""
    config = recognizer.config
    return {
        "policy": recognizer.policy.name,
        "stage": recognizer.origin.get("stage"),
        "step": recognizer.origin.get("step"),
        "parameters": sum(leaf.size for leaf in jax.tree.leaves(recognizer.variables["params"])),
        "bytes": model_bytes(config.model, recognizer.policy, config.frontend.feature_size),
    }
