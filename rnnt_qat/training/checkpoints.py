"""Checkpoints of one stage: asynchronous, the best and the last kept, bound to their config."""

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
"""File in a checkpoint with the SHA-256 of the others."""

DAMAGED = "damaged"
"""Folder beside the stages' that takes checkpoints which cannot be used."""

# Orbax writes these two after the checksums are taken: a time, and that all is written.
_WRITTEN_LAST = ("_CHECKPOINT_METADATA", "commit_success.txt")
_DELETING = ".deleting"


class ConfigMismatchError(UserError, ValueError):
    """A run was asked to go on under a config that is not its own."""


class DamagedCheckpointError(UserError, ValueError):
    """A checkpoint whose files are missing, cut short or changed."""


@dataclasses.dataclass(frozen=True)
class CheckpointConfig:
    """When a run can be taken up again.

    Attributes:
      every: steps between checkpoints; one more follows each evaluation and ends each stage.
      keep_last: newest checkpoints kept in each stage, beside the one of lowest WER.
    """

    every: int = 500
    keep_last: int = 2

    def __post_init__(self):
        for name in ("every", "keep_last"):
            if getattr(self, name) < 1:
                raise ValueError(f"checkpoint.{name}={getattr(self, name)} must be at least 1")


@dataclasses.dataclass(frozen=True)
class Restored:
    """What a checkpoint holds beside its directory."""

    state: TrainState
    iterator_state: Json
    step: int


class Checkpoints:
    """The checkpoints of one stage of a run.

    A checkpoint appears under its step's number once it is complete, its checksums with it, and
    leaves by being renamed, so a kill at any time leaves whole checkpoints alone. To be made by a
    process that has the working directory to itself: it clears away what a killed one left.

    Args:
      directory: created if missing.
      config: the run's resolved config as JSON; kept in every checkpoint.
      keep_last: newest checkpoints to keep.
      may_differ: dotted paths of fields in which a checkpoint's config may differ from ``config``.
      upgrade: makes JSON of today's configs of what an earlier version wrote.

    Attributes:
      set_aside: checkpoints that were found incomplete and moved away, as lines to show.
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
            reverse=True,  # Orbax keeps the tail of the order
            n=1,
        )
        options = ocp.CheckpointManagerOptions(
            best_fn=wer,  # without it Orbax records no metrics
            preservation_policy=checkpoint_managers.AnyPreservationPolicy(
                [checkpoint_managers.LatestN(keep_last), best]
            ),
            # Deleting takes a while, renaming does not: no step is ever half there.
            todelete_subdir=_DELETING,
            async_options=ocp.AsyncOptions(post_finalization_callback=self._seal),
        )
        self._manager = ocp.CheckpointManager(self.directory, options=options)

    def save(
        self, step: int, state: TrainState, iterator_state: Json, wer: float | None = None
    ) -> None:
        """Begins to write a checkpoint; returns once the device's arrays are copied.

        Args:
          step: ``state.step``, known to the host. A step that is there already is left alone.
          state: global arrays.
          iterator_state: where the next batch is; the same on all processes.
          wer: word error rate of ``state.ema_params``, if it was just measured.
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
        """The newest complete checkpoint."""
        return self._manager.latest_step()

    def best_step(self) -> int | None:
        """The checkpoint of lowest WER; the newest where none was evaluated."""
        measured = {s: wer for s in self._manager.all_steps() if (wer := self.wer(s)) is not None}
        return min(measured, key=lambda s: measured[s]) if measured else self.latest_step()

    def wer(self, step: int) -> float | None:
        """What was measured at a step, if anything was."""
        return (self._manager.metrics(step) or {}).get(WER)

    def holds(self, step: int, field: str) -> bool:
        """Returns whether a checkpoint's state has a field.

        Raises:
          DamagedCheckpointError: naming the folder.
        """
        folder = self.directory / str(step)
        try:
            with ocp.StandardCheckpointer() as reader:
                return field in reader.metadata(folder / "state").item_metadata.tree
        except (OSError, ValueError, KeyError, AttributeError) as error:
            raise DamagedCheckpointError(f"{folder} is damaged: {error}") from error

    def check_config(self, step: int) -> None:
        """Refuses a checkpoint that another config wrote.

        Raises:
          ConfigMismatchError: naming the fields that differ.
          DamagedCheckpointError: naming the folder.
        """
        self._verify(step)
        restored = self._read(step, ocp.args.Composite(config=ocp.args.JsonRestore()))
        where, saved = str(self.directory / str(step)), self._upgrade(restored.config)
        require_same_config(saved, self._config, where, self._may_differ)

    def restore(self, step: int, template: PyTree, shardings: PyTree) -> Restored:
        """Reads a checkpoint of this stage and this config.

        Args:
          step: one of the kept steps.
          template: a state of the same structure, arrays or shapes.
          shardings: where each leaf shall live.

        Raises:
          ConfigMismatchError: if another config wrote it.
          DamagedCheckpointError: naming the folder.
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
        """Moves a checkpoint that cannot be used out of the way; returns where it is now."""
        moved = self.directory.parent / DAMAGED / f"{self.directory.name}_{step}"
        if jax.process_index() == 0:
            _move(self.directory / str(step), moved)
        _meet(f"discarded {self.directory / str(step)}")
        self._manager.reload()
        self._verified.discard(step)
        return moved

    def wait(self) -> None:
        """Returns once everything begun is on disk."""
        self._manager.wait_until_finished()
        if jax.process_index() == 0:
            shutil.rmtree(self.directory / _DELETING, ignore_errors=True)

    def close(self) -> None:
        """Waits, then releases the writer's threads."""
        self.wait()
        self._manager.close()

    def _clear(self) -> None:
        """Removes what a killed process began to write or to delete; moves away half steps."""
        if not self.directory.is_dir():
            return
        for path in sorted(self.directory.iterdir()):
            if not path.name.isdigit():
                shutil.rmtree(path, ignore_errors=True)
            elif problem := _incomplete(path):
                moved = self.directory.parent / DAMAGED / f"{self.directory.name}_{path.name}"
                _move(path, moved)
                self.set_aside.append(f"{path}: {problem}; moved to {moved}, which can be deleted")

    def _seal(self) -> None:
        """Writes the checksums of the step being saved, all of its files being complete."""
        if jax.process_index():
            return
        found = self.directory.glob(f"{self._saving}.orbax-checkpoint-tmp*")
        folder = next(found, self.directory / str(self._saving))
        (folder / CHECKSUMS).write_text(json.dumps(checksums(folder, _WRITTEN_LAST), indent=1))

    def _verify(self, step: int) -> None:
        """Raises DamagedCheckpointError, on every process, if a file is not as it was written."""
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
                raise  # the files are as written, so it is not they that are wrong
            reason = str(error).strip().splitlines()[0] if str(error).strip() else repr(error)
            raise DamagedCheckpointError(f"{folder} is damaged: {reason}") from error


def _incomplete(step: pathlib.Path) -> str:
    """What a step's folder lacks to be a checkpoint; empty if nothing."""
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
    """All processes come here before any goes on."""
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(name)


def _anywhere(here: bool) -> bool:
    """Whether it holds on any process."""
    if jax.process_count() == 1:
        return here
    return bool(multihost_utils.process_allgather(here).any())


def differing_fields(saved: Json, asked: Json, path: str = "") -> list[str]:
    """One line a field that differs between two JSON values, by dotted path."""
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
    """Refuses to go on under another config than the one that something was written under.

    Args:
      saved: the former config as JSON.
      asked: the one of now.
      where: what was written, for the message.
      may_differ: dotted paths of fields, inner ones included, that may have changed.

    Returns:
      One line for each of those that did change.

    Raises:
      ConfigMismatchError: naming the other fields that differ.
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
