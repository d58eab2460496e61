"""What to compare on chips: the systems in folders, and the scope of the comparison.

It needs neither the chip's compiler nor a runtime, so that programs refuse wrong flags without.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from rnnt_qat.experiment.config import Split
from rnnt_qat.experiment.recognizer import (
    ModelDirectoryError,
    Recognizer,
    artefact_hint,
    model_directories,
    require_distinct,
    trained_through_policy,
)
from rnnt_qat.export.freeze import FreezeError
from rnnt_qat.latency.systems import Method, System, describe
from rnnt_qat.latency.targets import TARGETS, NpuTarget


@dataclass(frozen=True)
class ChipComparisonConfig:
    """Scope of a comparison on chips.

    Attributes:
      test: test sets to decode.
      replay: subset of ``test`` to replay through every runtime.
      targets: chips to compile for.
      chunks: chunk sizes in encoder frames, >= 1.
      replayed: methods whose systems are replayed.
    """

    test: tuple[Split, ...]
    replay: tuple[Split, ...]
    targets: tuple[NpuTarget, ...] = TARGETS
    chunks: tuple[int, ...] = (1, 4)
    replayed: tuple[Method, ...] = (Method.POST_TRAINING, Method.AWARE)

    def __post_init__(self):
        """Raises ValueError if a chunk has no frame."""
        if not self.chunks or min(self.chunks) < 1:
            raise ValueError(f"chunks={self.chunks}: a chunk has at least one encoder frame")


def load_systems(directories: Iterable[Path]) -> dict[System, Recognizer]:
    """Loads the recognizers in or below directories, the float one first.

    Of several systems of one kind, all but the first are named with their place below the directory
    that was given.

    Raises:
      ModelDirectoryError: if a directory holds no model, or one is given twice.
      FreezeError: if a model cannot be exported; the message names it.
    """
    found: dict[System, Recognizer] = {}
    places: list[Path] = []
    for directory in directories:
        models = model_directories(directory)
        if not models:
            raise ModelDirectoryError(
                f"{directory} holds no recognizer{artefact_hint(directory)}. experiments.train and "
                "experiments.sweep write them into WORKDIR/models and "
                "WORKDIR/model_0/POLICY/models"
            )
        places += models
        require_distinct(places)
        for model in models:
            recognizer = Recognizer.load(model)
            try:
                system = describe(recognizer.policy, trained_through_policy(recognizer.origin))
            except FreezeError as error:
                raise FreezeError(f"{model}: {error}. {_to_a_chip(model)}") from error
            taken = {other.name for other in found}
            below = model.relative_to(directory) if model != directory else model
            names = (system.name, f"{system.name} ({below})", f"{system.name} ({model})")
            free = next(name for name in names if name not in taken)
            found[replace(system, name=free)] = recognizer
    return dict(sorted(found.items(), key=lambda item: item[0].method is not Method.FLOAT))


def require_a_chip(systems: Mapping[System, Recognizer]) -> None:
    """Checks that at least one system can be exported.

    Raises:
      FreezeError: if none can; the message says how to put a model on a chip.
    """
    if all(system.method in (Method.FLOAT, Method.FALLBACK) for system in systems):
        names = ", ".join(recognizer.policy.name for recognizer in systems.values())
        raise FreezeError(
            f"there is no artefact to write: these models ({names}) leave operators between their "
            f"matrix products in floating point. {_to_a_chip(None)}"
        )


def _to_a_chip(model: Path | None) -> str:
    """Returns instructions for putting a float model on a chip that can be exported."""
    source = "WORKDIR" if model is None else model.parent.parent
    return (
        "To put a trained float model on a chip: python -m experiments.sweep "
        f"--models={source}/models/float --policies=ethos_u_8x8_16 --workdir={source}/sweep, then "
        f"--model={source}/sweep here; or train with --config.precision=ethos_u_8x8_16"
    )
