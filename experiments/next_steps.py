"""The commands that programs name at their end, with the paths of their run."""

import json
import pathlib
import shlex
from collections.abc import Mapping, Sequence

from data.data_dir import given_data_dir
from rnnt_qat.artefact.artefact import MANIFEST
from rnnt_qat.experiment.recognizer import trained_through_policy
from rnnt_qat.experiment.remote_paths import is_empty, model_places
from rnnt_qat.export.freeze import FreezeError
from rnnt_qat.infra.next_command import Flags, command, next_line
from rnnt_qat.infra.remote_store import is_remote
from rnnt_qat.latency.systems import Method, describe
from rnnt_qat.quant.policies import FLOAT32, policy_by_name
from rnnt_qat.quant.policy import PrecisionPolicy

_CHIP = "ethos_u_8x8_16"
_MICROPHONE = "arecord -f S16_LE -r 16000 -c 1"


def on_corpora(module: str, flags: Flags) -> str:
    """Returns the line of a command that reads the corpora of this one."""
    return next_line(command(module, {**flags, "data_dir": given_data_dir()}))


def evaluation(workdir: str) -> str:
    """Returns the line after a training run.

    Args:
      workdir: its folder, or its URL.
    """
    return on_corpora("experiments.evaluate", {"workdir": workdir})


def from_measured(
    policies: Mapping[str, PrecisionPolicy], run: str, to_sweep: str | None = None
) -> str:
    """Returns the line after models were compared: exports those of a chip, or puts one on a chip.

    Args:
      policies: the models' policies by their directory or URL.
      run: folder or URL of the run that they belong to; the next command writes below it.
      to_sweep: folder or URL for a sweep; None for ``sweep`` in the run.
    """
    exportable = {path: method for path, p in policies.items() if (method := _method(p))}
    if not {Method.FLOAT, Method.FALLBACK} >= set(exportable.values()):
        output = _unused(f"{run}/export")
        return on_corpora("experiments.export", {"model": list(exportable), "output": output})
    floats = [path for path, policy in policies.items() if policy == FLOAT32]
    if floats:
        swept = {"models": floats[0], "policies": _CHIP, "workdir": to_sweep or f"{run}/sweep"}
        return on_corpora("experiments.sweep", swept)
    return next_line(command("experiments.serve", {"model": list(policies)}))


def from_sweep(model: str, made: Mapping[str, str], run: str) -> str:
    """Returns the line after a sweep.

    Args:
      model: directory or URL of a float model.
      made: policy lines by the folder or URL of what was made of that model.
      run: folder or URL of the sweep.
    """
    policies = {model: FLOAT32}
    for place, line in made.items():
        policies |= {path: policy_by_name(line) for path in model_places(f"{place}/models")}
    return from_measured(policies, run, f"{run}_on_chip")


def from_exported(folder: pathlib.Path, name: str | None = None) -> str | None:
    """Returns the line after an export: plays an artefact, a trained one if there is one.

    None if nothing was frozen: of products alone (``w8a8``) there is a latency, but no artefact.

    Args:
      folder: the systems' folders.
      name: their URL where they are remote; None for the folder.
    """
    manifests = sorted(folder.glob(f"*/*/{MANIFEST}"))
    if not manifests:
        return None
    origins = {path: json.loads(path.read_text("utf-8"))["origin"] for path in manifests}
    trained = [path for path, origin in origins.items() if trained_through_policy(origin)]
    artefact = (trained or manifests)[0].parent.relative_to(folder)
    return playing(f"{(name or str(folder)).rstrip('/')}/{artefact}")


def run_of(model: str) -> str:
    """Returns the run that a model's directory or URL belongs to; a new folder if to none."""
    parts = pathlib.PurePath(model).parts
    if len(parts) > 2 and parts[-2] == "models":
        return model.rstrip("/").rsplit("/", 2)[0]
    return f"workdir/{parts[-1]}"


def playing(artefact: str | pathlib.PurePath) -> str:
    """Returns the line that plays an artefact on the microphone's audio."""
    played = command("experiments.transcribe", {"model": str(artefact), "audio": "-"})
    return next_line(f"{_MICROPHONE} | {played}")


def opening(page: pathlib.Path) -> str:
    """Returns the line that opens a page in the browser."""
    return next_line(f"python -m webbrowser -t {page.absolute().as_uri()}")


def training_the_front(model: str, output: str, policies: Sequence[str]) -> str:
    """Returns the line that sweeps the policies that a search has found.

    Args:
      model: directory or URL of the float model.
      output: folder of the search, with ``policies.txt``, or its URL.
      policies: their lines, which no shell reads from an object store.
    """
    flags: Flags = {"models": model, "workdir": f"{output.rstrip('/')}/sweep"}
    if is_remote(output):
        return on_corpora("experiments.sweep", {**flags, "policies": policies})
    read = shlex.quote(str(pathlib.Path(output) / "policies.txt"))
    return f'{on_corpora("experiments.sweep", flags)} --policies="$(paste -sd, {read})"'


def _method(policy: PrecisionPolicy) -> Method | None:
    """Returns how a model would be exported; None if it cannot be."""
    try:
        return describe(policy, trained=True).method
    except FreezeError:
        return None


def _unused(folder: str) -> str:
    """Returns a folder's name, or with a number the first one that is empty."""
    names: Sequence[str] = [folder, *(f"{folder}_{number}" for number in range(2, 100))]
    return next((name for name in names if is_empty(name)), folder)
