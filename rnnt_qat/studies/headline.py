"""Headline table of a comparison on chips: accuracy, size, placement and latency in one place."""

from collections.abc import Sequence

from rnnt_qat.evaluation.report import by_test_set, compare
from rnnt_qat.evaluation.result import EvaluationResult
from rnnt_qat.latency.latency_report import LatencyRow


def headline_table(
    results: Sequence[EvaluationResult],
    rows: Sequence[LatencyRow],
    target: str,
    chunk_frames: int,
) -> str:
    """Returns a Markdown table with one line per test set and system.

    Args:
      results: results of the systems, by one search or several; the first one of each test set is
        the baseline.
      rows: latency rows of the systems that run on a chip.
      target: name of the chip to show.
      chunk_frames: encoder frames per chunk to show.
    """
    header = ["test set", "system", "WER", "WER - float, points", "deletions"]
    header += ["weights, KiB", "operators on the NPU", f"{target}: ms per s of audio"]
    timed = any(result.real_time_factor is not None for result in results)
    header += ["real-time factor"] * timed
    lines = [header, ["---", "---", *["---:"] * (len(header) - 2)]]
    on_chip = {
        (row.test_set, row.system): row
        for row in rows
        if (row.target, row.chunk_frames) == (target, chunk_frames)
    }
    for test_set, group in by_test_set(results).items():
        words = group[0].words.reference_length
        title = f"{test_set}: {len(group[0].utterances)} utterances, {words:,} words"
        for comparison in compare(group):
            result = comparison.result
            row = on_chip.get((test_set, result.system))
            size, share, latency = "-", "-", "-"
            if row is not None:
                size = f"{row.weight_bytes / 1024:,.0f}"
                share = f"{100 * row.npu_share:.0f} %"
                latency = f"{row.ms_per_second:.1f}"
            wer, counts = result.wer, result.words
            cells = [title, result.system]
            cells += [f"{100 * wer.value:.1f} % [{100 * wer.low:.1f}, {100 * wer.high:.1f}]"]
            cells += [_difference(comparison.difference and comparison.difference.difference)]
            cells += [f"{100 * counts.deletions / max(words, 1):.1f} %", size, share, latency]
            if timed:
                factor = result.real_time_factor
                cells.append("-" if factor is None else f"{factor.median:.3g}")
            lines.append(cells)
            title = ""
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _difference(interval) -> str:
    if interval is None:
        return "baseline"
    low, high = 100 * interval.low, 100 * interval.high
    text = f"{100 * interval.value:+.1f} [{low:+.1f}, {high:+.1f}]"
    return f"**{text}**" if low > 0 or high < 0 else text
