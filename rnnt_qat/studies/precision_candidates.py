"""Candidates of a search of the weight bits of each layer, and the front of them.

All candidates share activation formats and ranges, so that the integers of a layer depend on the
bits of its own weights only: a candidate is put together from uniform ones.
"""

import dataclasses
import re
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

from rnnt_qat.artefact.integers import RnntIntegers
from rnnt_qat.artefact.layer_integers import DenseIntegers, RecurrentIntegers
from rnnt_qat.infra.config import require_at_least
from rnnt_qat.infra.mirror import Layout

WIDEST = 8
"""Bits of the weights of a chip's ready-made policy."""
Bits = Mapping[str, int]
"""Bits of the weights by the path of a layer."""

STORAGE = "search.journal"
"""File of Optuna's storage in the folder of a search."""

SEARCH = Layout((), rf"(?!{re.escape(STORAGE)}\.lock)[^/]+")
"""What of the folder of a search is mirrored: all but the lock of Optuna's storage."""


@dataclasses.dataclass(frozen=True)
class SearchConfig:
    """Options of a search.

    Attributes:
      bits: numbers of bits to choose from.
      chunks: encoder frames a call to choose from; with several, the delay of a chunk is a third
        objective.
      trials: number of candidates, with the uniform policies, which come first.
      population: candidates of a generation.
      jobs: candidates evaluated at the same time.
      seed: of the search, at least 0.
    """

    bits: tuple[int, ...] = (2, 3, 4, 8)
    chunks: tuple[int, ...] = (1,)
    trials: int = 200
    population: int = 24
    jobs: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        """Rejects empty choices and sizes below 1."""
        require_at_least(1, self, "trials", "jobs")
        require_at_least(2, self, "population")
        require_at_least(0, self, "seed")
        if not self.bits or not set(self.bits) <= set(range(2, WIDEST + 1)):
            raise ValueError(f"SearchConfig.bits={self.bits}: each lies in [2, {WIDEST}]")
        if not self.chunks or min(self.chunks) < 1:
            raise ValueError(f"SearchConfig.chunks={self.chunks}: each is at least 1")


@dataclasses.dataclass(frozen=True)
class Candidate:
    """A point of the search.

    Attributes:
      policy: its line, for ``train`` and ``sweep``.
      bits: bits of the weights of each layer.
      chunk_frames: encoder frames a call.
      loss: loss of the labels after calibration, per label.
      ms_per_second: engine time, in ms per second of audio.
      weight_bytes: stored bytes of weights.
    """

    policy: str
    bits: Bits
    chunk_frames: int
    loss: float
    ms_per_second: float
    weight_bytes: int

    @property
    def uniform(self) -> bool:
        """Whether all layers have the same bits."""
        return len(set(self.bits.values())) == 1


def policy_line(chip: str, bits: Bits) -> str:
    """Returns the policy of a candidate.

    Args:
      chip: name of the chip.
      bits: bits of the weights of each layer; those of the widest have no rule.
    """
    chosen = set(bits.values())
    if len(chosen) == 1:
        (width,) = chosen
        return chip if width == WIDEST else f"{chip}_w{width}"
    rules = [f"{path}:weights={width}" for path, width in bits.items() if width != WIDEST]
    return f"{chip}[{', '.join(rules)}]"


def mixed(uniform: Mapping[int, RnntIntegers], bits: Bits) -> RnntIntegers:
    """Returns the recognizer whose layers come from uniform ones.

    Args:
      uniform: the recognizer frozen with each number of bits, from the same ranges.
      bits: bits of the weights of each layer, by its path.
    """
    some = next(iter(uniform.values()))

    def layers(network: str) -> tuple[RecurrentIntegers, ...]:
        return tuple(
            getattr(uniform[bits[f"{network}/{layer.cell_kind}_{n}"]], network).layers[n]
            for n, layer in enumerate(getattr(some, network).layers)
        )

    def dense(path: str, of: Callable[[RnntIntegers], DenseIntegers]) -> DenseIntegers:
        return of(uniform[bits[path]])

    return dataclasses.replace(
        some,
        encoder=dataclasses.replace(
            some.encoder,
            layers=layers("encoder"),
            projection=dense("encoder/projection", lambda m: m.encoder.projection),
        ),
        prediction=dataclasses.replace(
            some.prediction,
            layers=layers("prediction"),
            projection=dense("prediction/projection", lambda m: m.prediction.projection),
        ),
        joint=dataclasses.replace(some.joint, output=dense("joint", lambda m: m.joint.output)),
    )


def pareto_front(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Returns the candidates that no other equals or betters in everything, by engine time.

    Error, engine time and chunk are compared; of equal candidates the first is kept.

    Args:
      candidates: the candidates.
    """
    points = np.array([[c.loss, c.ms_per_second, c.chunk_frames] for c in candidates])
    front = []
    for n, point in enumerate(points):
        better = (points <= point).all(axis=1) & (points < point).any(axis=1)
        twin = (points[:n] == point).all(axis=1)
        if not better.any() and not twin.any():
            front.append(candidates[n])
    return sorted(front, key=lambda c: (c.chunk_frames, c.ms_per_second))


def front_table(candidates: Sequence[Candidate]) -> Iterator[str]:
    """Yields the lines of a Markdown table of the front and the uniform policies.

    Args:
      candidates: all candidates.
    """
    front = pareto_front(candidates)
    on_front = {(c.policy, c.chunk_frames) for c in front}
    uniform = {(c.policy, c.chunk_frames): c for c in candidates if c.uniform}
    shown = front + [c for key, c in uniform.items() if key not in on_front]
    yield "| policy | chunk | loss a label | engine ms per s | weights KiB | on the front |"
    yield "|---|---:|---:|---:|---:|---|"
    for c in sorted(shown, key=lambda c: (c.chunk_frames, c.ms_per_second)):
        yield (
            f"| `{c.policy}` | {c.chunk_frames} | {c.loss:.4f} | {c.ms_per_second:.2f} | "
            f"{c.weight_bytes / 1024:.0f} | {'yes' if c in front else 'no'} |"
        )
