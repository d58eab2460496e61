"""An evolution strategy over the grid of a frozen recognizer, resumable after every generation.

Natural evolution (Wierstra et al., "Natural Evolution Strategies", 2014; separable, by ``evosax``)
needs no gradient: it draws vectors around a mean, evaluates the integers that they stand for, and
moves mean and deviations towards the better ones. The mean itself is evaluated in every generation
as well, and the best mean is the result, so that nothing becomes worse on what is adapted to.
"""

import dataclasses
import hashlib
import io
import json
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from rnnt_qat.adaptation.grid import Grid
from rnnt_qat.adaptation.objectives import Objective
from rnnt_qat.batch import Batch
from rnnt_qat.infra.config import ConfigError, require_at_least, to_json
from rnnt_qat.infra.console import Console
from rnnt_qat.infra.durable_files import write_bytes
from rnnt_qat.infra.errors import UserError
from rnnt_qat.infra.progress import Progress
from rnnt_qat.models.bound_transducer import BoundTransducer
from rnnt_qat.typing import Array, Float, PyTree

STATE = "evolution.npz"
"""File of a search's state in its folder."""


@dataclasses.dataclass(frozen=True)
class EvolutionConfig:
    """Options of the search.

    Attributes:
      generations: number of generations.
      population: candidates of a generation, the mean among them.
      deviation: deviation of the first candidates, in units of the grid.
      at_once: candidates that are evaluated in one batch of the program.
      seed: of the draws.
    """

    generations: int = 30
    population: int = 16
    deviation: float = 0.05
    at_once: int = 8
    seed: int = 0

    def __post_init__(self) -> None:
        """Rejects sizes below 1 and a deviation of nothing."""
        require_at_least(1, self, "generations", "at_once")
        require_at_least(5, self, "population")
        if not 0 < self.deviation < float("inf"):
            raise ValueError(f"EvolutionConfig.deviation={self.deviation}: it must be above 0")


@dataclasses.dataclass(frozen=True)
class Evolution:
    """Result of a search.

    Attributes:
      vector: the best mean.
      losses: loss of the mean before each generation and after the last.
      best: the smallest of them.
    """

    vector: PyTree
    losses: tuple[float, ...]
    best: float


def evolve(
    grid: Grid,
    loss: Callable[[PyTree], Float[Array, ""]],
    config: EvolutionConfig,
    task: str = "",
    folder: pathlib.Path | None = None,
    console: Console | None = None,
) -> Evolution:
    """Searches the vector of a grid with the smallest loss.

    Args:
      grid: the changes that are allowed.
      loss: loss of frozen variables; must be traceable.
      config: options of the search.
      task: names what the loss measures; a state of another task is not gone on from.
      folder: keeps the state after every generation, to go on from; None keeps nothing.
      console: shows progress and the time left.

    Raises:
      ConfigError: the folder holds the state of another search.
      UserError: the loss of the unchanged variables, or of a later mean, is not finite.
    """
    zeros = grid.zeros()
    from evosax.algorithms import SNES  # computes when imported, which fixes JAX's devices

    strategy = SNES(population_size=config.population - 1, solution=zeros)
    params = strategy.default_params.replace(std_init=config.deviation)
    first = strategy.init(jax.random.key(config.seed), zeros, params)
    name = _fingerprint(grid, config, task)
    run = _Run(first, jnp.zeros_like(first.mean), (), name, folder).continued()

    @jax.jit
    def losses_of(grid: Grid, vectors: PyTree) -> Float[Array, "P"]:
        return jax.lax.map(lambda x: loss(grid.at(x)), vectors, batch_size=config.at_once)

    with Progress("adapting", console) as progress:
        while len(run.losses) <= config.generations:
            done = len(run.losses)
            key = jax.random.fold_in(jax.random.key(config.seed), done)
            population, state = strategy.ask(key, run.state, params)
            everyone = jax.tree.map(
                lambda mean, others: jnp.concatenate([mean[None], others]),
                strategy.get_mean(state),
                population,
            )
            found = np.asarray(losses_of(grid, everyone))
            if not np.isfinite(found[0]):
                raise UserError(
                    f"the loss of what is adapted is {found[0]}: is there speech, with transcripts "
                    "where the objective reads them, that the recognizer can align?"
                )
            run = run.measured(float(found[0]))
            # After the last one too, so that a longer search goes on as if it had not ended there.
            fitness = jnp.asarray(np.where(np.isfinite(found[1:]), found[1:], np.inf))
            state, _ = strategy.tell(key, population, fitness, state, params)
            run = dataclasses.replace(run, state=state)
            run.save()
            progress.at(done + 1, config.generations + 1)
    unravel = ravel_pytree(zeros)[1]
    return Evolution(unravel(jnp.asarray(run.best)), run.losses, min(run.losses))


def mean_loss(
    objective: Objective, transducer: BoundTransducer, batches: Sequence[Batch]
) -> Callable[[PyTree], Float[Array, ""]]:
    """Returns the mean of an objective over several batches, as a loss of frozen variables.

    Args:
      objective: sum and count of a batch.
      transducer: the recognizer; its variables are replaced.
      batches: what is adapted to.
    """

    def loss(variables: PyTree) -> Float[Array, ""]:
        bound = dataclasses.replace(transducer, variables=variables)
        parts = [objective(bound, batch) for batch in batches]
        total = sum((part for part, _ in parts), jnp.float32(0))
        return total / sum((count for _, count in parts), jnp.float32(0))

    return loss


@dataclasses.dataclass(frozen=True)
class _Run:
    """State of a search between two generations, and the file that keeps it."""

    state: PyTree
    best: Float[Array, "N"]
    losses: tuple[float, ...]
    fingerprint: str
    folder: pathlib.Path | None

    def measured(self, loss: float) -> "_Run":
        """Returns the run after the loss of its present mean has become known."""
        better = not self.losses or loss < min(self.losses)
        best = self.state.mean if better else self.best
        return dataclasses.replace(self, best=best, losses=(*self.losses, loss))

    def save(self) -> None:
        if self.folder is None:
            return
        arrays: dict[str, Any] = {
            "best": self.best,
            "losses": self.losses,
            "fingerprint": self.fingerprint,
            **{f"state_{n}": leaf for n, leaf in enumerate(jax.tree.leaves(self.state))},
        }
        buffer = io.BytesIO()
        np.savez(buffer, **arrays)
        self.folder.mkdir(parents=True, exist_ok=True)
        write_bytes(self.folder / STATE, buffer.getvalue())

    def continued(self) -> "_Run":
        """Returns the run as its file has it; itself if there is no file."""
        if self.folder is None or not (self.folder / STATE).exists():
            return self
        with np.load(self.folder / STATE) as file:
            if str(file["fingerprint"]) != self.fingerprint:
                raise ConfigError(
                    f"{self.folder / STATE} is of another search (other variables or options): "
                    "give another folder, or the options that it began with"
                )
            leaves, structure = jax.tree.flatten(self.state)
            saved = [file[f"state_{n}"] for n in range(len(leaves))]
            pairs = zip(saved, leaves, strict=True)
            read = [jnp.asarray(x, jnp.result_type(y)) for x, y in pairs]
            state = jax.tree.unflatten(structure, read)
            losses = tuple(map(float, file["losses"]))
            return dataclasses.replace(self, state=state, best=file["best"], losses=losses)


def _fingerprint(grid: Grid, config: EvolutionConfig, task: str) -> str:
    """Returns a hash of what a search depends on, but not of its number of generations."""
    options = {k: v for k, v in to_json(config).items() if k != "generations"}
    digest = hashlib.sha256(json.dumps([options, grid.paths, grid.rank, task]).encode())
    for leaf in jax.tree.leaves((grid.variables, grid.projections)):
        digest.update(np.asarray(leaf).tobytes())
    return digest.hexdigest()
