"""One HTML page of stored results: tables, figures, and every utterance with its audio.

The page needs no network and no server. Its audio is inside, or beside it in ``<page>_audio/`` as
scripts, which browsers load from a local folder where they refuse to fetch other files.
"""

import dataclasses
import enum
import json
import pathlib
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

import jinja2
import plotly.offline

from rnnt_qat.evaluation.report import compare
from rnnt_qat.evaluation.result import EvaluationResult
from rnnt_qat.infra.console import Console
from rnnt_qat.infra.durable_files import write_text
from rnnt_qat.infra.json_values import finite
from rnnt_qat.infra.progress import Progress
from rnnt_qat.metrics.alignment import align_characters, align_words
from rnnt_qat.report.breakdown import by_length, by_snr, by_speaker, confusions
from rnnt_qat.report.figures import (
    Figure,
    class_figure,
    curve_figures,
    difference_figure,
    heat_map_figure,
    pareto_figure,
    wer_figure,
)
from rnnt_qat.report.recordings import Recording, read_recordings
from rnnt_qat.report.stored_run import StoredRun

_SHARD = 16
_EMBEDDED_BYTES = 12_000_000
Json = dict[str, Any]


class Audio(enum.Enum):
    """Where a page's audio is."""

    AUTO = "auto"
    """Inside up to 12 MB, else beside."""
    EMBED = "embed"
    BESIDE = "beside"
    NONE = "none"


def write_page(
    path: pathlib.Path,
    runs: Sequence[StoredRun],
    data_dir: pathlib.Path | None,
    audio: Audio = Audio.AUTO,
    console: Console | None = None,
) -> pathlib.Path:
    """Writes a page about one or several runs.

    Args:
      path: HTML file to write.
      runs: stored results; systems of several runs are shown side by side.
      data_dir: folder of the prepared corpora, for audio, speakers and signal-to-noise ratios;
        None for a page without them.
      audio: where the audio goes.
      console: output of progress; None for none.

    Returns:
      The page's path.

    Raises:
      CorpusError: if a corpus of the results is not in ``data_dir``.
    """
    results = [result for run in runs for result in run.results]
    recordings: dict[tuple[str, str], Recording] = {}
    if data_dir is not None:
        with Progress("recordings of the report", console) as progress:
            recordings = read_recordings(results, data_dir, audio is not Audio.NONE, progress.at)
    content = page_content(runs, recordings)
    shards = _shards(content["sets"], recordings)
    size = sum(map(len, shards))
    beside = audio is Audio.BESIDE or (audio is Audio.AUTO and size > _EMBEDDED_BYTES)
    content["audio"] = {"shard": _SHARD, "beside": f"{path.stem}_audio" if beside else None}
    content["audio"]["there"] = bool(shards)
    path.parent.mkdir(parents=True, exist_ok=True)
    if beside:
        folder = path.with_name(f"{path.stem}_audio")
        folder.mkdir(exist_ok=True)
        for number, shard in enumerate(shards):
            (folder / f"{number}.js").write_text(shard)
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("rnnt_qat.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page = environment.get_template("report.html.j2").render(
        title=", ".join(run.name for run in runs),
        runs=[_run_facts(run) for run in runs],
        sets=content["sets"],
        figures=content["figures"],
        tables=_tables(runs, content),
        data=_script_json(content),
        plotly=plotly.offline.get_plotlyjs(),
        shards=[] if beside else shards,
        environment=environment,
    )
    write_text(path, page)
    return path


def page_content(
    runs: Sequence[StoredRun], recordings: Mapping[tuple[str, str], Recording]
) -> Json:
    """Returns everything that a page's scripts show, as JSON.

    Args:
      runs: stored results.
      recordings: recordings by test set and id; empty if not available.
    """
    groups: dict[str, list[tuple[str, EvaluationResult, StoredRun]]] = {}
    for run in runs:
        chunks = len({result.chunk_ms for result in run.results}) > 1
        for result in run.results:
            name = result.system
            if chunks:
                size = f"{result.chunk_ms:g} ms" if result.chunk_ms else "whole"
                name += f", {size}"
            if len(runs) > 1:
                name = f"{run.name}: {name}"
            groups.setdefault(result.test_set, []).append((name, result, run))
    figures: list[Json] = []
    for run in runs:
        for title, figure in curve_figures(run.curves).items():
            prefix = f"{run.name}: " if len(runs) > 1 else ""
            figures.append({"section": "curves", "title": prefix + title, **figure})
        figures += _latency_figures(run)
        for diagnosis in run.diagnoses:
            figures.append(
                {
                    "section": "arithmetic",
                    "title": diagnosis["system"],
                    "diagnosis": diagnosis,
                    **heat_map_figure(diagnosis),
                }
            )
    sets = []
    for test_set, group in groups.items():
        sets.append(_set_content(test_set, group, recordings))
        figures += _set_figures(test_set, group, sets[-1], recordings)
    return {"sets": sets, "figures": figures}


Group = Sequence[tuple[str, EvaluationResult, StoredRun]]


def _set_content(
    test_set: str, group: Group, recordings: Mapping[tuple[str, str], Recording]
) -> Json:
    """Returns a test set's systems, utterances and confusions."""
    utterances: dict[str, Json] = {}
    systems = []
    for number, (name, result, _) in enumerate(group):
        references = [u.reference for u in result.utterances]
        hypotheses = [u.hypothesis for u in result.utterances]
        words = align_words(references, hypotheses)
        for utterance, alignment in zip(result.utterances, words, strict=True):
            recording = recordings.get((test_set, utterance.id))
            row = utterances.setdefault(
                utterance.id,
                {
                    "id": utterance.id,
                    "r": " ".join(alignment.reference),
                    "s": round(utterance.audio_s, 3),
                    "who": recording.speaker if recording else None,
                    "snr": round(recording.snr_db, 1) if recording else None,
                    "h": [None] * len(group),
                },
            )
            pieces = list(utterance.pieces)
            row["h"][number] = {
                "t": " ".join(alignment.hypothesis),
                "o": alignment.operations,
                "e": utterance.words.errors,
                "c": utterance.characters.errors,
                "p": "".join(pieces) if all(len(p) == 1 for p in pieces) else pieces,
                "ms": [round(t) for t in result.token_times_ms(utterance)],
            }
        systems.append(
            {
                "name": name,
                "chunk_ms": result.chunk_ms,
                "words": confusions(words),
                "letters": confusions(align_characters(references, hypotheses)),
            }
        )
    return {
        "name": test_set,
        "minutes": sum(u["s"] for u in utterances.values()) / 60,
        "words": sum(len(u["r"].split()) for u in utterances.values()),
        "searches": list(dict.fromkeys(result.search for _, result, _ in group)),
        "systems": systems,
        "utterances": list(utterances.values()),
    }


def _set_figures(
    test_set: str,
    group: Group,
    content: Json,
    recordings: Mapping[tuple[str, str], Recording],
) -> list[Json]:
    names = [system["name"] for system in content["systems"]]
    results = [result for _, result, _ in group]
    named = dict(zip(names, results, strict=True))
    figures: list[tuple[str, str, Figure]] = [
        ("summary", "Word error rates", wer_figure(results, names))
    ]
    differences = [
        (name, *(100 * x for x in (d.value, d.low, d.high)))
        for name, paired in zip(names, differences_to_first(results), strict=True)
        if (d := paired) is not None
    ]
    if differences:
        figures.append(("summary", "Difference to the baseline", difference_figure(differences)))
    sizes = [
        (name, size / 1000, *_percents(result))
        for (name, result, run) in group
        if (size := system_bytes(run, result.system)) is not None
    ]
    if len(sizes) > 1:
        title = "parameters, kB"
        figures.append(("summary", "Error rate against size", pareto_figure(sizes, title)))
    lengths = {name: by_length(result) for name, result in named.items()}
    figures.append(("errors", "By length", class_figure(lengths, "length of the audio")))
    if recordings:
        speakers = {name: by_speaker(result, recordings) for name, result in named.items()}
        figures.append(("errors", "By speaker (at most 40)", class_figure(speakers, "speaker")))
        snrs = {name: by_snr(result, recordings) for name, result in named.items()}
        figures.append(
            ("errors", "By signal-to-noise ratio", class_figure(snrs, "estimated ratio"))
        )
    return [
        {"section": section, "title": f"{title}: {test_set}", **figure}
        for section, title, figure in figures
    ]


def differences_to_first(results: Sequence[EvaluationResult]) -> list[Any]:
    """Returns the paired difference of each result to the first as an ``Interval``.

    It is None for the first, and for results of other utterances, as runs may have decoded.
    """
    found: list[Any] = [None]
    ids = [u.id for u in results[0].utterances]
    for result in results[1:]:
        same = [u.id for u in result.utterances] == ids
        paired = compare([results[0], result])[1].difference if same else None
        found.append(paired.difference if paired else None)
    return found


def _latency_figures(run: StoredRun) -> list[Json]:
    figures = []
    for place in dict.fromkeys((r["test_set"], r["target"]) for r in run.latency):
        rows = [r for r in run.latency if (r["test_set"], r["target"]) == place]
        points = [
            (
                f"{r['system']}, {r['chunk_frames']} frames a chunk",
                float(r["ms_per_second"]),
                100 * float(r["wer"]),
                100 * float(r["wer_low"]),
                100 * float(r["wer_high"]),
            )
            for r in rows
            if r["ms_per_second"]
        ]
        if points:
            title = f"Error rate against engine latency: {place[0]} on {place[1]}"
            figure = pareto_figure(points, "engine ms a second of audio")
            figures.append({"section": "summary", "title": title, **figure})
    return figures


def system_bytes(run: StoredRun, system: str) -> float | None:
    """Returns the bytes of a system's parameters from whichever table states them."""
    if system in run.systems:
        return float(run.systems[system]["bytes"])
    for rows, column in ((run.grid, "model_bytes"), (run.latency, "stored_weight_bytes")):
        for row in rows:
            if row["system"] == system and row[column]:
                return float(row[column])
    return None


def _percents(result: EvaluationResult) -> tuple[float, float, float]:
    return 100 * result.wer.value, 100 * result.wer.low, 100 * result.wer.high


def _tables(runs: Sequence[StoredRun], content: Json) -> list[Json]:
    """Returns the headline table of each test set, as texts."""
    tables = []
    for group in content["sets"]:
        of = [(run, result) for run in runs for result in run.results]
        chosen = [(run, result) for run, result in of if result.test_set == group["name"]]
        differences = differences_to_first([result for _, result in chosen])
        highest = max(result.wer.high for _, result in chosen)
        rows: list[Json] = []
        for (run, result), system, difference in zip(
            chosen, group["systems"], differences, strict=True
        ):
            words = result.words
            size = system_bytes(run, result.system)
            engine = [
                float(row["ms_per_second"])
                for row in run.latency
                if (row["system"], row["test_set"]) == (result.system, result.test_set)
                and row["ms_per_second"]
            ]
            factor = result.real_time_factor
            rows.append(
                {
                    "system": system["name"],
                    "wer": f"{100 * result.wer.value:.2f}",
                    "range": f"{100 * result.wer.low:.1f} - {100 * result.wer.high:.1f}",
                    "low": 100 * result.wer.low / highest,
                    "span": 100 * (result.wer.high - result.wer.low) / highest,
                    "value": 100 * result.wer.value / highest,
                    "difference": _difference(difference, first=not rows),
                    "significant": difference is not None
                    and (difference.low > 0 or difference.high < 0),
                    "worse": difference is not None and difference.value > 0,
                    "cer": f"{100 * result.cer.value:.2f}",
                    "kinds": " / ".join(
                        f"{n:,}" for n in (words.substitutions, words.deletions, words.insertions)
                    ),
                    "wrong": f"{100 * result.utterance_error_rate:.0f}",
                    "first": _p50_p90(result.first_token_ms),
                    "last": _p50_p90(result.last_token_to_end_ms),
                    "speed": "" if factor is None else f"{factor.median:.3g}",
                    "kilobytes": "" if size is None else f"{size / 1000:,.0f}",
                    "engine": f"{min(engine):.2f}" if engine else "",
                    "lost": result.missing + result.overflow,
                }
            )
        tables.append(
            {
                "set": group,
                "rows": rows,
                "has": {
                    name: any(row[name] for row in rows)
                    for name in ("speed", "kilobytes", "engine", "lost")
                },
            }
        )
    return tables


def _difference(difference: Any, first: bool) -> str:
    if difference is None:
        return "baseline" if first else "other utterances"
    value, low, high = (100 * x for x in (difference.value, difference.low, difference.high))
    return f"{value:+.2f} [{low:+.1f}, {high:+.1f}]"


def _p50_p90(times: Any) -> str:
    return "" if times.p50 != times.p50 else f"{times.p50:.0f} / {times.p90:.0f}"


def _run_facts(run: StoredRun) -> Json:
    """Returns where a run comes from, for the section on provenance."""
    record = dict(run.provenance)
    command = record.pop("command", None)
    packages = record.pop("packages", {})
    return {
        "name": run.name,
        "command": shlex.join(["python", "-m", _module(command[0]), *command[1:]])
        if command
        else None,
        "facts": {name: value for name, value in record.items() if value is not None},
        "packages": {name: version for name, version in packages.items() if version},
        "systems": run.systems,
    }


def _module(program: str) -> str:
    return f"experiments.{pathlib.Path(program).stem}" if program.endswith(".py") else program


def _shards(sets: Sequence[Json], recordings: Mapping[tuple[str, str], Recording]) -> list[str]:
    """Returns scripts that hand over the audio of 16 utterances each.

    Every set starts a new shard, so that a place in a set says which shard holds it.
    """
    shards: list[str] = []
    for number, group in enumerate(sets):
        group["firstShard"] = len(shards)
        rows = group["utterances"]
        for start in range(0, len(rows), _SHARD):
            files = {
                f"{number}:{start + i}": recording.audio
                for i, row in enumerate(rows[start : start + _SHARD])
                if (recording := recordings.get((group["name"], row["id"]))) and recording.audio
            }
            if files:
                shards.append(f"receiveAudio({len(shards)}, {json.dumps(files)});\n")
    return shards


def _script_json(content: Json) -> str:
    """Returns JSON that cannot end the script element that holds it."""
    text = json.dumps(finite(content), ensure_ascii=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def load_and_write(
    folders: Sequence[pathlib.Path],
    path: pathlib.Path,
    data_dir: pathlib.Path | None,
    console: Console,
    audio: Audio = Audio.AUTO,
) -> pathlib.Path:
    """Reads folders of results and writes their page; see ``write_page``."""
    runs = [StoredRun.load(folder) for folder in folders]
    names = [run.name for run in runs]
    distinct = [
        dataclasses.replace(run, name=f"{run.name} ({run.folder})")
        if names.count(run.name) > 1
        else run
        for run in runs
    ]
    return write_page(path, distinct, data_dir, audio, console)
