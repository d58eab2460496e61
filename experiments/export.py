"""Exports trained models: artefacts, graphs, replay through runtimes, compiled latency, report.

python -m experiments.export --model=workdir/prompts --output=workdir/prompts/export
python -m experiments.export --model=a/models/float,workdir/grid --targets=u55-128 --output=out
"""

import pathlib
import shlex
import sys

import jax
from absl import flags

from experiments import next_steps
from experiments.flags import (
    DATA_DIR,
    may_be_remote,
    numbers,
    output_folder,
    run,
    set_up_jax,
    test_sets,
)
from rnnt_qat.experiment.recognizer import Recognizer
from rnnt_qat.experiment.remote_paths import is_empty, place_of, readable_folder, writable_folder
from rnnt_qat.infra.console import Console
from rnnt_qat.infra.processes import end_together
from rnnt_qat.latency.systems import System
from rnnt_qat.latency.targets import TARGETS
from rnnt_qat.report.page import load_and_write
from rnnt_qat.studies.chip_systems import ChipComparisonConfig, load_systems, require_a_chip

_MODEL = flags.DEFINE_list(
    "model", None, "Model directories, or directories that hold some.", required=True
)
_OUTPUT = flags.DEFINE_string("output", None, "A new directory for what is written.", required=True)
_TEST = flags.DEFINE_list("test", None, "CORPUS:SPLIT, ...; by default the config's test sets.")
_REPLAY = flags.DEFINE_list("replay", None, "Test sets to replay; by default the first one.")
_TARGETS = flags.DEFINE_list("targets", [t.name for t in TARGETS], "Ethos-U targets.")
_CHUNKS = flags.DEFINE_list("chunks", ["1", "4"], "Encoder frames a chunk.")

may_be_remote(_MODEL, _OUTPUT)


def main() -> int:
    """Exports, verifies, compiles and reports; returns 1 if an integer or a token differs."""
    known = {target.name: target for target in TARGETS}
    if unknown := set(_TARGETS.value) - set(known):
        raise flags.ValidationError(
            f"--targets: {', '.join(sorted(unknown))} is none of {', '.join(known)}"
        )
    chunks = numbers(_CHUNKS, int, 1)
    set_up_jax(several=True)
    systems = load_systems(map(readable_folder, _MODEL.value))
    require_a_chip(systems)
    first = next(iter(systems.values()))
    test = test_sets(_TEST, first.config.data.test)
    replay = test_sets(_REPLAY, test[:1])
    if missing := {split.name for split in replay} - {split.name for split in test}:
        raise flags.ValidationError(
            f"--replay: {', '.join(sorted(missing))} is not among the test sets"
        )
    targets = tuple(known[name] for name in _TARGETS.value)
    config = ChipComparisonConfig(test, replay, targets, chunks)
    exact = True
    if jax.process_index():  # they share the decoding; the rest is done by one
        from rnnt_qat.studies.chip_comparison import decode_systems

        silent = Console(enabled=False)
        decode_systems(systems, test, pathlib.Path(DATA_DIR.value), silent)
    else:
        exact = _export(systems, config)
    end_together()
    return int(not exact)


def _export(systems: dict[System, Recognizer], config: ChipComparisonConfig) -> bool:
    """Writes everything; returns whether all integers and tokens agree."""
    if not is_empty(_OUTPUT.value):
        raise flags.ValidationError(
            f"--output={_OUTPUT.value} is not empty; nothing is written over"
        )
    # They need the extra `export`, which the help and the checks of flags do not.
    from rnnt_qat.studies.chip_comparison import compare_on_chips
    from rnnt_qat.studies.chip_report import write_chip_report

    data_dir, console = pathlib.Path(DATA_DIR.value), Console()
    with writable_folder(_OUTPUT.value, console) as output:
        output_folder(_OUTPUT, output)
        found = compare_on_chips(systems, config, data_dir, output, console)
        command = f"python -m experiments.export {shlex.join(sys.argv[1:])}"
        report = write_chip_report(found, systems, config, output, command)
        console.say(f"wrote {place_of(report, output, _OUTPUT.value)}")
        page = load_and_write([output], output / "report.html", data_dir, console)
        console.say(f"wrote {place_of(page, output, _OUTPUT.value)}")
        played = next_steps.from_exported(output, _OUTPUT.value)
    exact = all(a.exact for v in found.verifications.values() for a in v.agreements)
    if exact and played is not None:
        console.say(played)
    return exact


if __name__ == "__main__":
    run(main)
