"""Checkpoints of one stage: asynchronous, the best and the last kept, bound to their config."""

import dataclasses
import json
import math
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import jax
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers

from rnnt_qat.training.state import TrainState
from rnnt_qat.typing import PyTree

Json = Any
WER = "wer"


class ConfigMismatchError(ValueError):
    """A run was asked to go on under a config that is not its own."""


@dataclasses.dataclass(frozen=True)
class CheckpointConfig:
    """When a run can be taken up again.

    Attributes:
      every: steps between checkpoints; one more follows each evaluation and ends each stage.
      keep_last: newest checkpoints kept in each stage, beside the one of lowest WER.
    """

    every: int = 500
    keep_last: int = 2


@dataclasses.dataclass(frozen=True)
class Restored:
    """What a checkpoint holds beside its directory."""

    state: TrainState
    iterator_state: Json
    step: int


class Checkpoints:
    """The checkpoints of one stage of a run.

    Args:
      directory: created if missing.
      config: the run's resolved config as JSON; kept in every checkpoint.
      keep_last: newest checkpoints to keep.
      upgrade: makes JSON of today's configs of what an earlier version wrote.
    """

    def __init__(
        self,
        directory: pathlib.Path,
        config: Mapping[str, Json],
        keep_last: int = 2,
        upgrade: Callable[[Json], Json] = lambda config: config,
    ):
        self._config, self._upgrade = config, upgrade
        self.directory = pathlib.Path(directory).absolute()

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
        return self._manager.metrics(step)[WER]

    def holds(self, step: int, field: str) -> bool:
        """Returns whether a checkpoint's state has a field."""
        with ocp.StandardCheckpointer() as reader:
            saved = reader.metadata(self.directory / str(step) / "state")
        return field in saved.item_metadata.tree

    def check_config(self, step: int) -> None:
        """Refuses a checkpoint that another config wrote.

        Raises:
          ConfigMismatchError: naming the fields that differ.
        """
        restored = self._manager.restore(
            step, args=ocp.args.Composite(config=ocp.args.JsonRestore())
        )
        require_same_config(
            self._upgrade(restored.config), self._config, str(self.directory / str(step))
        )

    def restore(self, step: int, template: PyTree, shardings: PyTree) -> Restored:
        """Reads a checkpoint of this stage and this config.

        Args:
          step: one of the kept steps.
          template: a state of the same structure, arrays or shapes.
          shardings: where each leaf shall live.

        Raises:
          ConfigMismatchError: if another config wrote it.
        """
        self.check_config(step)
        abstract = jax.tree.map(
            lambda leaf, s: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=s),
            template,
            shardings,
        )
        restored = self._manager.restore(
            step,
            args=ocp.args.Composite(
                state=ocp.args.StandardRestore(abstract), iterator=ocp.args.JsonRestore()
            ),
        )
        return Restored(restored.state, restored.iterator["state"], step)

    def wait(self) -> None:
        """Returns once everything begun is on disk."""
        self._manager.wait_until_finished()

    def close(self) -> None:
        """Waits, then releases the writer's threads."""
        self._manager.close()


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


def require_same_config(saved: Json, asked: Json, where: str) -> None:
    """Raises ConfigMismatchError, naming the differing fields, unless both are equal."""
    lines = differing_fields(saved, asked)
    if lines:
        raise ConfigMismatchError(
            f"{where} was written under another config:\n  "
            + "\n  ".join(lines)
            + "\nGive those fields their former values, or choose another --workdir."
        )
