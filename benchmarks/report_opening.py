"""Time that a browser takes to open a report of many utterances.

    python -m benchmarks.report_opening --utterances=5000 --systems=4

The results are made up: random words with random errors, and noise for audio, which lies beside the
page as it is too large. The page is opened in a fresh headless Chromium each time, from a local
file, and times are counted from the start of the navigation: the table of utterances is shown and
can be searched; the page is loaded; the library of the figures is there. Then it is searched. The
last column is the processor time of the page's process, which other work does not change.
"""

import asyncio
import base64
import io
import pathlib
import random
import statistics
import tempfile

import numpy as np
import soundfile
from absl import flags

from rnnt_qat.evaluation.report import write_report
from rnnt_qat.evaluation.result import EvaluationResult, UtteranceResult
from rnnt_qat.infra.program import run
from rnnt_qat.metrics.wer import character_errors, word_errors
from rnnt_qat.report.page import write_page
from rnnt_qat.report.recordings import Recording
from rnnt_qat.report.stored_run import StoredRun
from tests.live import browser

_UTTERANCES = flags.DEFINE_integer("utterances", 5000, "Utterances of the report.", lower_bound=1)
_SYSTEMS = flags.DEFINE_integer("systems", 4, "Systems that decoded them.", lower_bound=1)
_REPEATS = flags.DEFINE_integer("repeats", 5, "Times that the page is opened.", lower_bound=1)
_OUTPUT = flags.DEFINE_string("output", None, "Folder that keeps the page; by default none does.")

_TEST_SET = "made_up:test"
_WORDS = ("kitchen", "dog", "light", "night", "seven", "the", "to", "message", "leave", "please")
_TIMES = """(() => {
  const mark = name => performance.getEntriesByName(name)[0].startTime;
  const load = performance.getEntriesByType("navigation")[0].loadEventEnd;
  const began = performance.now();
  $("search").value = "kitchen dog"; $("search").oninput();
  return [mark("table"), load, mark("figures"), performance.now() - began];
})()"""


def _results(rng: random.Random) -> list[EvaluationResult]:
    references = [
        " ".join(rng.choices(_WORDS, k=rng.randint(2, 16))) for _ in range(_UTTERANCES.value)
    ]
    return [_result(f"system {i}", references, rng) for i in range(_SYSTEMS.value)]


def _result(system: str, references: list[str], rng: random.Random) -> EvaluationResult:
    """Returns a tenth of the words substituted and a twentieth deleted."""
    hypotheses = [
        " ".join(
            rng.choice(_WORDS) if rng.random() < 0.1 else word
            for word in text.split()
            if rng.random() > 0.05
        )
        for text in references
    ]
    words = word_errors(references, hypotheses)
    characters = character_errors(references, hypotheses)
    utterances = (
        UtteranceResult(
            id=f"utterance/{i:05d}",
            reference=references[i],
            hypothesis=text,
            words=words[i],
            characters=characters[i],
            tokens=tuple(range(1, 1 + len(text))),
            pieces=tuple(text),
            emission_frames=tuple(range(5, 5 + 2 * len(text), 2)),
            log_prob=-1.0,
            overflow=0,
            audio_s=2 + 0.08 * len(text),
        )
        for i, text in enumerate(hypotheses)
    )
    return EvaluationResult(_TEST_SET, system, "GreedyConfig()", 240.0, 40.0, tuple(utterances))


def _recordings(rng: random.Random) -> dict[tuple[str, str], Recording]:
    """Returns recordings of 50 speakers that share one second of noise."""
    file = io.BytesIO()
    noise = np.random.default_rng(0).normal(0, 0.1, 16_000)
    soundfile.write(file, noise, 16_000, format="OGG", subtype="VORBIS")
    audio = base64.b64encode(file.getvalue()).decode()
    return {
        (_TEST_SET, f"utterance/{i:05d}"): Recording(f"speaker {i % 50}", rng.uniform(0, 60), audio)
        for i in range(_UTTERANCES.value)
    }


async def _opened(path: pathlib.Path) -> list[float]:
    """Returns the times in ms of one opening."""
    async with browser.tab() as tab:
        await tab.call("Performance.enable", timeDomain="threadTicks")
        await tab.open(path.absolute().as_uri())
        await tab.wait_for("document.body.dataset.figures")
        metrics = (await tab.call("Performance.getMetrics"))["metrics"]
        (processor_s,) = (m["value"] for m in metrics if m["name"] == "ProcessTime")
        times = await tab.run(_TIMES)
        if tab.errors:
            raise RuntimeError(f"{path}: {tab.errors}")
        return [*times, 1000 * processor_s]


def main() -> None:
    """Prints a table."""
    rng = random.Random(0)
    with tempfile.TemporaryDirectory() as unused:
        folder = pathlib.Path(_OUTPUT.value or unused)
        folder.mkdir(parents=True, exist_ok=True)
        write_report(folder, _results(rng))
        run, recordings = StoredRun.load(folder), _recordings(rng)
        print(
            f"{_UTTERANCES.value:,} utterances, {_SYSTEMS.value} systems; ms, median of "
            f"{_REPEATS.value}\n\n"
            "| page without its audio, MB | table shown | loaded | figures ready | a search "
            "| processor time until figures |\n"
            "|---:|---:|---:|---:|---:|---:|"
        )
        path = write_page(folder / "report.html", [run], recordings)
        times = [asyncio.run(_opened(path)) for _ in range(_REPEATS.value)]
        medians = [f"{statistics.median(column):,.0f}" for column in zip(*times, strict=True)]
        print(f"| {path.stat().st_size / 1e6:.1f} | {' | '.join(medians)} |")


if __name__ == "__main__":
    run(main)
