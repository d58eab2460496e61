"""Makes the HTML report of stored results again, of one run or of several side by side.

python -m experiments.report --results=workdir/prompts/report
python -m experiments.report --results=workdir/a/report,workdir/b/report --output=both.html

A run is a folder that `evaluate`, `sweep` or `export` wrote. The page needs no network.
"""

import pathlib

from absl import flags

from experiments import next_steps
from experiments.flags import DATA_DIR, run
from rnnt_qat.infra.console import Console
from rnnt_qat.report.page import Audio, load_and_write

_RESULTS = flags.DEFINE_list(
    "results", None, "Folders of results; the first one has the baseline.", required=True
)
_OUTPUT = flags.DEFINE_string("output", None, "The page; default: report.html in the first folder.")
_AUDIO = flags.DEFINE_enum(
    "audio",
    Audio.AUTO.value,
    [*(each.value for each in Audio), "off"],
    "auto: inside the page up to 12 MB, else in a folder beside it; none: a page without audio; "
    "off: without the corpora, so without speakers and signal-to-noise ratios too.",
)


def main() -> None:
    """Writes the page."""
    folders = [pathlib.Path(folder) for folder in _RESULTS.value]
    path = pathlib.Path(_OUTPUT.value or folders[0] / "report.html")
    off = _AUDIO.value == "off"
    data_dir = None if off else pathlib.Path(DATA_DIR.value)
    audio, console = Audio.NONE if off else Audio(_AUDIO.value), Console()
    page = load_and_write(folders, path, data_dir, console, audio)
    console.say(f"wrote {page}")
    console.say(next_steps.opening(page))


if __name__ == "__main__":
    run(main)
