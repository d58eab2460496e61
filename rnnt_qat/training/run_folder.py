"""Layout of a run's working directory: where the checkpoints of its stages are."""

import pathlib


def has_checkpoints(workdir: pathlib.Path) -> bool:
    """Returns whether the working directory holds a checkpoint."""
    return any(p.name.isdigit() for p in (workdir / "checkpoints").glob("*/*"))


def stage_directory(workdir: pathlib.Path, index: int, name: str) -> pathlib.Path:
    """Returns the folder of a stage's checkpoints.

    Args:
      workdir: the run's working directory.
      index: position of the stage in the plan, from 0.
      name: name of the stage.
    """
    return workdir / "checkpoints" / f"{index}_{name}"
