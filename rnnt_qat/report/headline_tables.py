"""The headline table of each test set of a page, as texts."""

from collections.abc import Sequence
from typing import Any

from rnnt_qat.evaluation.report import compare
from rnnt_qat.evaluation.result import EvaluationResult
from rnnt_qat.report.stored_run import StoredRun

Json = dict[str, Any]


def headline_tables(runs: Sequence[StoredRun], content: Json) -> list[Json]:
    """Returns the headline table of each test set.

    Args:
      runs: stored results.
      content: content of the page; see ``page_content``.
    """
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
                    "range": f"{100 * result.wer.low:.1f}, {100 * result.wer.high:.1f}",
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


def system_bytes(run: StoredRun, system: str) -> float | None:
    """Returns the bytes of a system's parameters from whichever table states them."""
    if system in run.systems:
        return float(run.systems[system]["bytes"])
    for rows, column in ((run.grid, "model_bytes"), (run.latency, "stored_weight_bytes")):
        for row in rows:
            if row["system"] == system and row[column]:
                return float(row[column])
    return None


def _difference(difference: Any, first: bool) -> str:
    if difference is None:
        return "baseline" if first else "other utterances"
    value, low, high = (100 * x for x in (difference.value, difference.low, difference.high))
    return f"{value:+.2f} [{low:+.1f}, {high:+.1f}]"


def _p50_p90(times: Any) -> str:
    return "" if times.p50 != times.p50 else f"{times.p50:.0f} / {times.p90:.0f}"
