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

from rnnt_qat.infra.console import Console
from rnnt_qat.infra.durable_files import write_text
from rnnt_qat.infra.json_values import finite
from rnnt_qat.infra.progress import Progress
from rnnt_qat.report.content import page_content
from rnnt_qat.report.headline_tables import headline_tables
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
    recordings: Mapping[tuple[str, str], Recording],
    audio: Audio = Audio.AUTO,
) -> pathlib.Path:
    """Writes a page about one or several runs.

    Args:
      path: HTML file to write.
      runs: stored results; systems of several runs are shown side by side.
      recordings: recordings by test set and id; empty for a page without audio, speakers and
        signal-to-noise ratios.
      audio: where the audio goes.

    Returns:
      The page's path.
    """
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
        tables=headline_tables(runs, content),
        data=_script_json(content),
        plotly=plotly.offline.get_plotlyjs(),
        shards=[] if beside else shards,
        environment=environment,
    )
    write_text(path, page)
    return path


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
    """Reads folders of results and the recordings of their utterances, and writes the page.

    Args:
      folders: folders of results; the first one has the baseline.
      path: HTML file to write.
      data_dir: folder of the prepared corpora; None for a page without recordings.
      console: output of progress.
      audio: where the audio goes.

    Returns:
      The page's path.

    Raises:
      CorpusError: if a corpus of the results is not in ``data_dir``.
      ResultError: if a folder has no results, or a file is damaged.
    """
    runs = [StoredRun.load(folder) for folder in folders]
    names = [run.name for run in runs]
    distinct = [
        dataclasses.replace(run, name=f"{run.name} ({run.folder})")
        if names.count(run.name) > 1
        else run
        for run in runs
    ]
    recordings: dict[tuple[str, str], Recording] = {}
    if data_dir is not None:
        results = [result for run in runs for result in run.results]
        with Progress("reading the report's audio", console, unit="recordings") as progress:
            recordings = read_recordings(results, data_dir, audio is not Audio.NONE, progress.at)
    with Progress(f"writing {path.name}", console):
        return write_page(path, distinct, recordings, audio)
