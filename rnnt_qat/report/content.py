"""What a page of results shows, as JSON for its scripts: utterances, confusions, figures."""

from collections.abc import Mapping, Sequence
from typing import Any

from rnnt_qat.evaluation.result import EvaluationResult
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
from rnnt_qat.report.headline_tables import differences_to_first, system_bytes
from rnnt_qat.report.recordings import Recording
from rnnt_qat.report.stored_run import StoredRun

Json = dict[str, Any]


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
    for run in runs:
        figures += _latency_figures(run)
    return {"sets": sets, "figures": figures}


Group = Sequence[tuple[str, EvaluationResult, StoredRun]]
"""Results of one test set: shown name, result and run of each."""


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
        figures.append(("cost", "Error rate against size", pareto_figure(sizes, title)))
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


def _latency_figures(run: StoredRun) -> list[Json]:
    systems = list(dict.fromkeys(result.system for result in run.results))
    figures = []
    for place in dict.fromkeys((r["test_set"], r["target"]) for r in run.latency):
        rows = [
            row
            for row in run.latency
            if (row["test_set"], row["target"]) == place
            and row["ms_per_second"]
            and row["system"] in systems  # not of an export before the sweep was given others
        ]
        if not rows:
            continue
        sizes = list(dict.fromkeys(row["chunk_frames"] for row in rows))
        points, signs = [], []
        for row in rows:
            name = row["system"]
            if len(sizes) > 1:
                name += f", chunks of {row['chunk_frames']} frames"
            wer = [100 * float(row[column]) for column in ("wer", "wer_low", "wer_high")]
            points.append((name, float(row["ms_per_second"]), wer[0], wer[1], wer[2]))
            signs.append((systems.index(row["system"]), row["chunk_frames"] == sizes[0]))
        title = f"Error rate against engine latency: {place[0]} on {place[1]}"
        if len(sizes) == 1:
            title += f", chunks of {sizes[0]} frames"
        figure = pareto_figure(points, "engine time, ms a second of audio", signs)
        figures.append({"section": "cost", "title": title, **figure})
    return figures


def _percents(result: EvaluationResult) -> tuple[float, float, float]:
    return 100 * result.wer.value, 100 * result.wer.low, 100 * result.wer.high
