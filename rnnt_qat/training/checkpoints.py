"""Asynchronous checkpoints of one stage, validated against the config that wrote them.

The newest checkpoints and the one of lowest WER are kept.
"""

import dataclasses
import json
import math
import os
import pathlib
import shutil
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import orbax.checkpoint as ocp
from jax.experimental import multihost_utils
from orbax.checkpoint import checkpoint_managers

from rnnt_qat.infra.durable_files import changed_files, checksums
from rnnt_qat.infra.errors import UserError
from rnnt_qat.training.state import TrainState
from rnnt_qat.typing import PyTree

Json = Any
WER = "wer"


CHECKSUMS = "checksums.json"
"""Name of the file in a checkpoint that holds the SHA-256 of the other files."""

DAMAGED = "damaged"
"""Name of the folder, next to the stages' folders, for unusable checkpoints."""

# Orbax writes these two files (a timestamp and a completion marker) after the checksums are taken,
# so they cannot be covered by them.
_WRITTEN_LAST = ("_CHECKPOINT_METADATA", "commit_success.txt")
_DELETING = ".deleting"


class ConfigMismatchError(UserError, ValueError):
    """An attempt to resume a run under a config other than its own."""


class DamagedCheckpointError(UserError, ValueError):
    """A checkpoint whose files are missing, truncated or modified."""


@dataclasses.dataclass(frozen=True)
class CheckpointConfig:
    """Checkpoint interval and retention.

    Attributes:
      every: steps between checkpoints, >= 1. Each evaluation and the end of each stage also write
        a checkpoint.
      keep_last: number of newest checkpoints kept per stage, >= 1, in addition to the one of
        lowest WER.
    """

    every: int = 500
    keep_last: int = 2

    def __post_init__(self):
        for name in ("every", "keep_last"):
            if getattr(self, name) < 1:
                raise ValueError(f"checkpoint.{name}={getattr(self, name)} must be at least 1")


@dataclasses.dataclass(frozen=True)
class Restored:
    """The content of a checkpoint.

    Attributes:
      state: training state as global arrays.
      iterator_state: position of the input pipeline, as JSON.
      step: step that the checkpoint was written at.
    """

    state: TrainState
    iterator_state: Json
    step: int


class Checkpoints:
    """The checkpoints of one stage of a run.

    A checkpoint appears under its step number only once it and its checksums are complete, and is
    renamed before it is deleted, so a process killed at any time leaves only complete checkpoints.
    The process must hold the working directory exclusively: the constructor removes what a killed
    process left behind.

    Args:
      directory: folder of the checkpoints; created if missing.
      config: the run's resolved config as JSON; stored in every checkpoint.
      keep_last: number of newest checkpoints to keep.
      may_differ: dotted paths of fields in which a checkpoint's config may differ from ``config``.
      upgrade: converts config JSON written by an earlier version to the current form.

    Attributes:
      set_aside: one message for each incomplete checkpoint that was moved away.
    """

    def __init__(
        self,
        directory: pathlib.Path,
        config: Mapping[str, Json],
        keep_last: int = 2,
        may_differ: Sequence[str] = (),
        upgrade: Callable[[Json], Json] = lambda config: config,
    ):
        self._config, self._may_differ, self._upgrade = config, may_differ, upgrade
        self.directory = pathlib.Path(directory).absolute()
        self.set_aside: list[str] = []
        self._verified: set[int] = set()
        if jax.process_index() == 0:
            self._clear()
        _meet(f"cleared {self.directory}")

        def wer(metrics: Mapping[str, float | None]) -> float:
            measured = metrics[WER]
            return math.inf if measured is None else measured

        best = checkpoint_managers.BestN(
            get_metric_fn=wer,
            reverse=True,  # Orbax keeps the last elements of the sorted sequence
            n=1,
        )
        options = ocp.CheckpointManagerOptions(
            best_fn=wer,  # Orbax records metrics only if this is given
            preservation_policy=checkpoint_managers.AnyPreservationPolicy(
                [checkpoint_managers.LatestN(keep_last), best]
            ),
            # Renaming is atomic and deleting is not: no partially deleted step is ever visible.
            todelete_subdir=_DELETING,
            async_options=ocp.AsyncOptions(post_finalization_callback=self._seal),
        )
        self._manager = ocp.CheckpointManager(self.directory, options=options)

    def save(
        self, step: int, state: TrainState, iterator_state: Json, wer: float | None = None
    ) -> None:
        """Starts writing a checkpoint; returns once the arrays are copied from the device.

        Args:
          step: value of ``state.step``. If a checkpoint of this step exists, nothing is written.
          state: training state as global arrays.
          iterator_state: position of the next batch, as JSON; the same on all processes.
          wer: word error rate of ``state.ema_params``, in [0, inf); None if not measured.
        """
        if step in self._manager.all_steps():
            return
        self.wait()
        self._saving = step
        self._manager.save(
            step,
            args=ocp.args.Composite(
                state=ocp.args.StandardSave(state),
                iterator=ocp.args.JsonSave({"state": iterator_state}),
                config=ocp.args.JsonSave(dict(self._config)),
            ),
            metrics={WER: wer},
        )

    def latest_step(self) -> int | None:
        """Returns the step of the newest complete checkpoint, or None if there is none."""
        return self._manager.latest_step()

    def best_step(self) -> int | None:
        """Returns the newest step of lowest WER, or the newest step if none was evaluated.

        The newest, because that one is kept (``BestN``): of equal ones before it, it depends on
        when the process was killed which are still there.
        """
        measured = {s: wer for s in self._manager.all_steps() if (wer := self.wer(s)) is not None}
        return min(measured, key=lambda s: (measured[s], -s)) if measured else self.latest_step()

    def wer(self, step: int) -> float | None:
        """Returns the word error rate measured at a step, or None if none was measured."""
        return (self._manager.metrics(step) or {}).get(WER)

    def holds(self, step: int, field: str) -> bool:
        """Returns whether a checkpoint's state has a field.

        Args:
          step: step of the checkpoint.
          field: name of a field of ``TrainState``.

        Raises:
          DamagedCheckpointError: if the checkpoint cannot be read; the message names the folder.
        """
        folder = self.directory / str(step)
        try:
            with ocp.StandardCheckpointer() as reader:
                return field in reader.metadata(folder / "state").item_metadata.tree
        except (OSError, ValueError, KeyError, AttributeError) as error:
            raise DamagedCheckpointError(f"{folder} is damaged: {error}") from error

    def check_config(self, step: int) -> None:
        """Checks that a checkpoint was written under this config.

        Raises:
          ConfigMismatchError: if it was not; the message names the fields that differ.
          DamagedCheckpointError: if it cannot be read; the message names the folder.
        """
        self._verify(step)
        restored = self._read(step, ocp.args.Composite(config=ocp.args.JsonRestore()))
        where, saved = str(self.directory / str(step)), self._upgrade(restored.config)
        require_same_config(saved, self._config, where, self._may_differ)

    def restore(self, step: int, template: PyTree, shardings: PyTree) -> Restored:
        """Reads a checkpoint of this stage and this config.

        Args:
          step: step of a kept checkpoint.
          template: a state of the same structure, of arrays or ``jax.ShapeDtypeStruct``.
          shardings: sharding of each leaf, in the structure of ``template``.

        Returns:
          The restored state and iterator position.

        Raises:
          ConfigMismatchError: if the checkpoint was written under another config.
          DamagedCheckpointError: if it cannot be read; the message names the folder.
        """
        self.check_config(step)
        abstract = jax.tree.map(
            lambda leaf, s: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=s),
            template,
            shardings,
        )
        restored = self._read(
            step,
            ocp.args.Composite(
                state=ocp.args.StandardRestore(abstract), iterator=ocp.args.JsonRestore()
            ),
        )
        return Restored(restored.state, restored.iterator["state"], step)

    def discard(self, step: int) -> pathlib.Path:
        """Moves an unusable checkpoint to the ``DAMAGED`` folder; returns its new path."""
        moved = self.directory.parent / DAMAGED / f"{self.directory.name}_{step}"
        if jax.process_index() == 0:
            _move(self.directory / str(step), moved)
        _meet(f"discarded {self.directory / str(step)}")
        self._manager.reload()
        self._verified.discard(step)
        return moved

    def wait(self) -> None:
        """Blocks until all pending writes are on disk."""
        self._manager.wait_until_finished()
        if jax.process_index() == 0:
            shutil.rmtree(self.directory / _DELETING, ignore_errors=True)

    def close(self) -> None:
        """Waits for pending writes and releases the writer's threads."""
        self.wait()
        self._manager.close()

    def _clear(self) -> None:
        """Removes unfinished writes and deletions of a killed process; moves incomplete steps."""
        if not self.directory.is_dir():
            return
        for path in sorted(self.directory.iterdir()):
            if not path.name.isdigit():
                shutil.rmtree(path, ignore_errors=True)
            elif problem := incomplete(path):
                moved = self.directory.parent / DAMAGED / f"{self.directory.name}_{path.name}"
                _move(path, moved)
                self.set_aside.append(f"{path}: {problem}; moved to {moved}, which can be deleted")

    def _seal(self) -> None:
        """Writes the checksums of the step being saved; called when its files are complete."""
        if jax.process_index():
            return
        found = self.directory.glob(f"{self._saving}.orbax-checkpoint-tmp*")
        folder = next(found, self.directory / str(self._saving))
        (folder / CHECKSUMS).write_text(json.dumps(checksums(folder, _WRITTEN_LAST), indent=1))

    def _verify(self, step: int) -> None:
        """Raises DamagedCheckpointError on every process if a file's checksum has changed."""
        folder = self.directory / str(step)
        if step in self._verified:
            return
        problem = ""
        if jax.process_index() == 0 and (folder / CHECKSUMS).exists():
            try:
                changed = changed_files(folder, json.loads((folder / CHECKSUMS).read_text()))
                problem = f"{', '.join(changed)} changed since written" if changed else ""
            except (OSError, ValueError, AttributeError) as error:
                problem = f"{CHECKSUMS}: {error}"
        if _anywhere(bool(problem)):
            raise DamagedCheckpointError(f"{folder} is damaged: {problem or 'files have changed'}")
        self._verified.add(step)

    def _read(self, step: int, args: ocp.args.Composite) -> Any:
        try:
            return self._manager.restore(step, args=args)
        except (OSError, ValueError, KeyError) as error:
            folder = self.directory / str(step)
            if (folder / CHECKSUMS).exists() and not isinstance(error, OSError):
                raise  # the checksums match, so the fault is not in the files
            reason = str(error).strip().splitlines()[0] if str(error).strip() else repr(error)
            raise DamagedCheckpointError(f"{folder} is damaged: {reason}") from error


def incomplete(step: pathlib.Path) -> str:
    """Returns why a step's folder is not a complete checkpoint; empty if it is one."""
    try:
        json.loads((step / "_CHECKPOINT_METADATA").read_text())
        metrics = json.loads((step / "metrics" / "metrics").read_text())
        sums = json.loads((step / CHECKSUMS).read_text()) if (step / CHECKSUMS).exists() else {}
        of_metrics = {name: sums[name] for name in sums if name.startswith("metrics/")}
        changed = changed_files(step, of_metrics)
    except OSError as error:
        return f"incomplete ({pathlib.Path(error.filename).relative_to(step)} is missing)"
    except ValueError:
        return "damaged (its metadata, metrics or checksums cannot be read)"
    if changed:
        return f"damaged ({', '.join(changed)} changed since written)"
    missing = [name for name in ("state", "iterator", "config") if not (step / name).is_dir()]
    if missing:
        return f"incomplete ({', '.join(missing)} missing)"
    return "" if isinstance(metrics, dict) else "damaged (its metrics cannot be read)"


def _move(source: pathlib.Path, target: pathlib.Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(target, ignore_errors=True)
    os.rename(source, target)


def _meet(name: str) -> None:
    """Synchronizes all processes at a barrier."""
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(name)


def _anywhere(here: bool) -> bool:
    """Returns whether the condition holds on any process."""
    if jax.process_count() == 1:
        return here
    return bool(multihost_utils.process_allgather(here).any())


def differing_fields(saved: Json, asked: Json, path: str = "") -> list[str]:
    """Lists the fields in which two JSON values differ.

    Args:
      saved: the earlier value.
      asked: the current value.
      path: dotted path of the two values, which prefixes those of their fields.

    Returns:
      One line per differing field: its dotted path and both values.
    """
    if isinstance(saved, Mapping) and isinstance(asked, Mapping):
        lines = []
        for key in sorted({*saved, *asked}):
            name = f"{path}.{key}" if path else key
            if key not in saved:
                lines.append(f"{name}: not there before, {json.dumps(asked[key])} now")
            elif key not in asked:
                lines.append(f"{name}: {json.dumps(saved[key])} before, not there now")
            else:
                lines += differing_fields(saved[key], asked[key], name)
        return lines
    if json.loads(json.dumps(saved)) == json.loads(json.dumps(asked)):
        return []
    return [f"{path}: {json.dumps(saved)} before, {json.dumps(asked)} now"]


def require_same_config(
    saved: Json, asked: Json, where: str, may_differ: Sequence[str] = ()
) -> list[str]:
    """Checks that a config equals the one under which something was written.

    Args:
      saved: the saved config as JSON.
      asked: the current config as JSON.
      where: name of what was written, for the message.
      may_differ: dotted paths of fields that may differ, with all fields below them.

    Returns:
      One line for each field of ``may_differ`` that differs.

    Raises:
      ConfigMismatchError: if other fields differ; the message names them.
    """

    def free(line: str) -> bool:
        path = line.partition(": ")[0]
        return any(path == field or path.startswith(f"{field}.") for field in may_differ)

    lines = differing_fields(saved, asked)
    bound = [line for line in lines if not free(line)]
    if bound:
        raise ConfigMismatchError(
            f"{where} was written under another config:\n  "
            + "\n  ".join(bound)
            + "\nGive those fields their former values, or choose another --workdir."
        )
    return lines
