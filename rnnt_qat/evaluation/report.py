"""Evaluation results as JSON files and Markdown reports with paired differences.

The first result of a test set is the baseline of the others.
"""

import dataclasses
import itertools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import jiwer

from rnnt_qat.evaluation.result import EvaluationResult, UtteranceResult
from rnnt_qat.infra.errors import UserError
from rnnt_qat.metrics.bootstrap import (
    BootstrapConfig,
    Interval,
    PairedDifference,
    paired_difference,
)
from rnnt_qat.metrics.latency import Percentiles, RealTimeFactor, emission_delays_ms
from rnnt_qat.metrics.wer import ErrorCounts

RESULTS_INDEX = "results.json"
"""File of a report's folder that names the files of results in order."""


class ResultError(UserError, ValueError):
    """A file without a valid evaluation result."""


def save_result(result: EvaluationResult, path: str | Path) -> None:
    """Writes a result as JSON, with a summary and the tokens' times for other programs.

    Args:
      result: the result.
      path: file to write.
    """
    record = dataclasses.asdict(result)
    for row, utterance in zip(record["utterances"], result.utterances, strict=True):
        row["token_times_ms"] = [round(t, 3) for t in result.token_times_ms(utterance)]
    record = {"summary": dict(result.metrics())} | record
    Path(path).write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", "utf-8")


def load_result(path: str | Path) -> EvaluationResult:
    """Reads a file written by ``save_result``.

    Raises:
      ResultError: if the file is invalid; the message names it and the error.
    """
    try:
        record = json.loads(Path(path).read_text("utf-8"))
        del record["summary"]  # redundant: computed from the other fields
        speed = record.pop("real_time_factor")
        return EvaluationResult(
            **record
            | {
                "bootstrap": BootstrapConfig(**record["bootstrap"]),
                "real_time_factor": speed and RealTimeFactor(**speed),
                "utterances": tuple(_utterance(row) for row in record["utterances"]),
            }
        )
    except FileNotFoundError:
        raise ResultError(f"{path} does not exist: `evaluate` writes it") from None
    except (json.JSONDecodeError, KeyError, TypeError, AttributeError) as error:
        raise ResultError(
            f"{path} is not an evaluation result ({error!r}): give the folder that `evaluate`, "
            "`sweep` or `export` wrote, e.g. WORKDIR/report"
        ) from error


def _utterance(row: dict) -> UtteranceResult:
    del row["token_times_ms"]  # redundant: computed from the emission frames
    return UtteranceResult(
        **row
        | {name: tuple(row[name]) for name in ("tokens", "pieces", "emission_frames")}
        | {name: ErrorCounts(**row[name]) for name in ("words", "characters")}
    )


@dataclasses.dataclass(frozen=True)
class Comparison:
    """A result compared with the baseline of its test set.

    Attributes:
      result: the compared result.
      difference: paired difference of the word error rate to the baseline's; None for the baseline.
      emission_delay_ms: delay of tokens in milliseconds relative to the baseline, over utterances
        with the same hypothesis in both; None for the baseline.
    """

    result: EvaluationResult
    difference: PairedDifference | None
    emission_delay_ms: Percentiles | None


def compare(results: Sequence[EvaluationResult]) -> list[Comparison]:
    """Compares results of one test set with the first one.

    Raises:
      ValueError: if two results have different utterances; the message names both.
    """
    baseline = results[0]
    comparisons = [Comparison(baseline, None, None)]
    for result in results[1:]:
        if [u.id for u in result.utterances] != [u.id for u in baseline.utterances]:
            raise ValueError(
                f"{result.system!r} and {baseline.system!r} decoded different utterances of "
                f"{result.test_set!r}: evaluate both on the same test set"
            )
        difference = paired_difference(
            [u.words for u in baseline.utterances],
            [u.words for u in result.utterances],
            baseline.bootstrap,
        )
        delays = emission_delays_ms(
            [u.tokens for u in baseline.utterances],
            [baseline.token_times_ms(u) for u in baseline.utterances],
            [u.tokens for u in result.utterances],
            [result.token_times_ms(u) for u in result.utterances],
        )
        comparisons.append(Comparison(result, difference, Percentiles.of(delays)))
    return comparisons


def by_test_set(results: Sequence[EvaluationResult]) -> dict[str, list[EvaluationResult]]:
    """Groups results by test set and keeps their order."""
    groups: dict[str, list[EvaluationResult]] = {}
    for result in results:
        groups.setdefault(result.test_set, []).append(result)
    return groups


def markdown_table(results: Sequence[EvaluationResult]) -> str:
    """Returns a Markdown table of one test set's error rates; the first result is the baseline."""
    header = [
        "system",
        "chunk, ms of audio",
        f"WER [{results[0].bootstrap.confidence:.0%}]",
        "WER - baseline, points",
        "CER",
        "utterances wrong",
        "S / D / I",
    ]
    # Searches differ in cost as well as in errors, so what was measured of it stands beside them.
    timed = any(result.real_time_factor is not None for result in results)
    header += ["real-time factor"] * timed
    rows = []
    for comparison in compare(results):
        result, words = comparison.result, comparison.result.words
        rows.append(
            [
                result.system,
                _chunk(result),
                f"{_percent(result.wer.value)} {_range(result.wer)}",
                _difference(comparison.difference),
                _percent(result.cer.value),
                _percent(result.utterance_error_rate),
                f"{words.substitutions} / {words.deletions} / {words.insertions}",
                *[_median(result.real_time_factor)] * timed,
            ]
        )
    return _markdown(header, rows)


def timing_table(results: Sequence[EvaluationResult]) -> str:
    """Returns a Markdown table of one test set's times; the first result is the baseline."""
    header = [
        "system",
        "chunk, ms of audio",
        "first token shown, ms of audio",
        "first token emitted, ms",
        "last token before end, ms",
        "emission - baseline, ms",
        "real-time factor, wall time [fastest, slowest]",
    ]
    rows = []
    for comparison in compare(results):
        result, delay = comparison.result, comparison.emission_delay_ms
        rows.append(
            [
                result.system,
                _chunk(result),
                _milliseconds(result.first_token_ms),
                _milliseconds(result.first_token_emitted_ms),
                _milliseconds(result.last_token_to_end_ms),
                "-" if delay is None else _milliseconds(delay),
                _speed(result.real_time_factor),
            ]
        )
    return _markdown(header, rows)


def _markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] + ["---:"] * (len(header) - 1), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _chunk(result: EvaluationResult) -> str:
    return "whole" if result.chunk_ms is None else f"{result.chunk_ms:g}"


def markdown_report(
    results: Sequence[EvaluationResult],
    plots: Mapping[str, str] | None = None,
    examples: int = 5,
    preface: str = "",
) -> str:
    """Returns the complete report as Markdown.

    Args:
      results: results of any systems on any test sets.
      plots: file names relative to the report, by caption.
      examples: number of utterances with the most errors to show for each result.
      preface: Markdown to insert after the title, e.g. a description of the systems.
    """
    parts = ["# Evaluation", *([preface] if preface else [])]
    for caption, file in (plots or {}).items():
        parts.append(f"![{caption}]({file})")
    for test_set, group in by_test_set(results).items():
        first = group[0]
        parts += [
            f"## {test_set}",
            f"{len(first.utterances)} utterances, {first.audio_s / 60:.1f} minutes, "
            f"{first.words.reference_length:,} words, decoded in a stream with "
            + ", ".join(f"`{search}`" for search in dict.fromkeys(r.search for r in group))
            + ".",
            markdown_table(group),
            timing_table(group),
        ]
        parts += [warning for result in group for warning in _warnings(result)]
    parts.append(_NOTES)
    if examples:
        parts.append("## Most errors")
        parts += [_examples(result, examples) for result in results]
    return "\n\n".join(parts) + "\n"


_NOTES = """\
Intervals are percentiles of a bootstrap over utterances. Differences are paired on the same draws;
one whose interval excludes 0 is in bold. S / D / I: substituted, deleted, inserted words.
Times are in ms of audio, p50 / p90, except for the real-time factor.
*First token shown*: audio received when it could be shown, including the wait for its chunk.
*First token emitted*, *last token before end* and *emission - baseline* are the model's own times,
as if audio arrived one encoder frame at a time; the last is measured over tokens of utterances
recognised alike.
*Real-time factor*: time of the batched decode on this machine per second of audio, median of the
repeats."""


def write_report(
    directory: str | Path,
    results: Sequence[EvaluationResult],
    plots: Mapping[str, str] | None = None,
    preface: str = "",
) -> Path:
    """Writes ``report.md``, one JSON file per result, and ``results.json`` with their order.

    Args:
      directory: output folder.
      results: results of any systems on any test sets.
      plots: file names relative to the report, by caption.
      preface: Markdown to insert after the title.

    Returns:
      The report's path.
    """
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    names = [result_file_name(result) for result in results]
    repeated = {name for name in names if names.count(name) > 1}
    if repeated:
        raise ValueError(f"results of the same test set, system and chunk: {sorted(repeated)}")
    for name, result in zip(names, results, strict=True):
        save_result(result, directory / name)
    (directory / RESULTS_INDEX).write_text(json.dumps({"results": names}, indent=1) + "\n")
    report = directory / "report.md"
    report.write_text(markdown_report(results, plots, preface=preface), "utf-8")
    return report


def result_file_name(result: EvaluationResult) -> str:
    """Returns ``<test set>-<system>-<chunk>.json`` with unsafe characters replaced."""
    chunk = "whole" if result.chunk_ms is None else f"{result.chunk_ms:g}ms"
    name = f"{result.test_set}-{result.system}-{chunk}"
    return "".join(c if c.isalnum() or c in "-_." else "_" for c in name) + ".json"


def _warnings(result: EvaluationResult):
    name = f"**{result.system}**"
    if result.missing:
        yield f"{name}: {result.missing} utterances of the test set were not decoded."
    if result.overflow:
        yield (
            f"{name}: {result.overflow} tokens were lost because a hypothesis was full; "
            "raise `evaluation.search.max_tokens`."
        )


def _examples(result: EvaluationResult, count: int) -> str:
    worst = sorted(result.utterances, key=lambda u: -u.words.errors)[:count]
    rows = [f"| {u.id} | {_marked(u)} |" for u in worst if u.words.errors]
    if not rows:
        return f"{_label(result)}: no errors."
    header = ["| utterance | reference, ~~deleted~~, **recognized** |", "| --- | --- |"]
    return (
        f"<details><summary>{_label(result)}</summary>\n\n"
        + "\n".join(header + rows)
        + "\n\n</details>"
    )


def _label(result: EvaluationResult) -> str:
    chunk = "whole" if result.chunk_ms is None else f"{result.chunk_ms:g} ms"
    return f"{result.test_set}, {result.system}, {chunk}"


def _marked(utterance: UtteranceResult) -> str:
    """Returns the reference with errors marked: deleted words, then recognised words, per run."""
    output = jiwer.process_words(utterance.reference, utterance.hypothesis)
    reference, hypothesis = output.references[0], output.hypotheses[0]
    parts = []
    for equal, chunks in itertools.groupby(output.alignments[0], lambda c: c.type == "equal"):
        run = list(chunks)
        said = " ".join(reference[run[0].ref_start_idx : run[-1].ref_end_idx])
        recognized = " ".join(hypothesis[run[0].hyp_start_idx : run[-1].hyp_end_idx])
        if equal:
            parts.append(said)
        else:
            parts += [
                mark + text + mark for mark, text in (("~~", said), ("**", recognized)) if text
            ]
    return " ".join(parts)


def _percent(rate: float) -> str:
    return f"{100 * rate:.2f} %"


def _range(interval: Interval) -> str:
    return f"[{100 * interval.low:.2f}, {100 * interval.high:.2f}]"


def _difference(paired: PairedDifference | None) -> str:
    if paired is None:
        return "baseline"
    difference = paired.difference
    text = (
        f"{100 * difference.value:+.2f} [{100 * difference.low:+.2f}, {100 * difference.high:+.2f}]"
    )
    return f"**{text}**" if paired.significant else text


def _median(factor: RealTimeFactor | None) -> str:
    return "-" if factor is None else f"{factor.median:.3g}"


def _speed(factor: RealTimeFactor | None) -> str:
    return "-" if factor is None else f"{factor.median:.3g} [{factor.low:.3g}, {factor.high:.3g}]"


def _milliseconds(times: Percentiles) -> str:
    return "-" if times.p50 != times.p50 else f"{times.p50:.0f} / {times.p90:.0f}"
