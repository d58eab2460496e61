"""Search of the weight bits of each layer: a Pareto front of error against the chip's cost.

All policies of the search share activation formats and ranges, so that the integers of a layer
depend on the bits of its own weights only. Each layer is frozen and compiled once for every number
of bits; a candidate is put together from them and evaluated by one compiled program (``thaw``).

References: Deb et al., "A Fast and Elitist Multiobjective Genetic Algorithm: NSGA-II" (2002); Li et
al., "EPIM" (2023), which searches the precision of layers with an evolutionary algorithm.
"""

import dataclasses
import pathlib
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
import optuna
from optuna.storages.journal import JournalFileBackend

from rnnt_qat.artefact.integers import RnntIntegers
from rnnt_qat.artefact.layer_integers import DenseIntegers, RecurrentIntegers
from rnnt_qat.infra.config import ConfigError, require_at_least
from rnnt_qat.infra.console import Console
from rnnt_qat.infra.progress import Progress
from rnnt_qat.latency.engine_latency import DecodeCounts
from rnnt_qat.latency.layer_costs import LayerCost, ms_per_second, weight_bytes

WIDEST = 8
"""Bits of the weights of a chip's ready-made policy."""
Bits = Mapping[str, int]
"""Bits of the weights by the path of a layer."""

STORAGE = "search.journal"
"""File of Optuna's storage in the folder of a search."""


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


Costs = Mapping[int, Mapping[int, Mapping[str, LayerCost]]]
"""Costs by the bits of the weights, the chunk, and the path of the layer."""


def search(
    chip: str,
    config: SearchConfig,
    costs: Costs,
    counts: Mapping[int, DecodeCounts],
    loss: Callable[[Bits], float],
    task: str,
    folder: pathlib.Path,
    console: Console | None = None,
) -> list[Candidate]:
    """Runs or continues a search, and returns all of its candidates.

    Only one process may search in a folder at a time: it takes unfinished candidates for those of
    an interrupted one.

    Args:
      chip: name of the chip.
      config: options.
      costs: cost of each layer.
      counts: calls of the networks, by the chunk.
      loss: loss of a candidate.
      task: names what loss and costs measure; a search of another task is not gone on from.
      folder: holds the storage; a search that is there goes on.
      console: shows progress and the time left.

    Raises:
      ConfigError: the folder holds a search with other options or of another task.
    """
    folder.mkdir(parents=True, exist_ok=True)
    backend = JournalFileBackend(str(folder / STORAGE))
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    several = len(config.chunks) > 1
    study = optuna.create_study(
        storage=optuna.storages.JournalStorage(backend),
        study_name=chip,
        directions=["minimize"] * (3 if several else 2),
        load_if_exists=True,
    )
    layers = tuple(costs[config.bits[0]][config.chunks[0]])
    _require_same(study, config, layers, task, folder)
    # A continuation with the seed of the beginning would draw the same candidates again.
    (seed,) = np.random.SeedSequence([config.seed, len(study.trials)]).generate_state(1).tolist()
    study.sampler = optuna.samplers.NSGAIISampler(population_size=config.population, seed=seed)
    _enqueue_uniform(study, config, layers)

    def objective(trial: optuna.Trial) -> tuple[float, ...]:
        bits = {path: trial.suggest_categorical(path, config.bits) for path in layers}
        chunk = trial.suggest_categorical("chunk", config.chunks)
        chosen = {path: costs[width][chunk][path] for path, width in bits.items()}
        trial.set_user_attr("bytes", weight_bytes(chosen))
        values = loss(bits), ms_per_second(chosen, counts[chunk])
        return (*values, float(chunk)) if several else values

    def complete() -> list[optuna.trial.FrozenTrial]:
        return study.get_trials(states=(optuna.trial.TrialState.COMPLETE,))

    with Progress("searching", console) as progress:
        left = config.trials - len(complete())
        if left > 0:
            study.optimize(
                objective,
                n_trials=left,
                n_jobs=config.jobs,
                callbacks=[lambda *_: progress.at(len(complete()), config.trials)],
            )
    return [_candidate(chip, layers, trial) for trial in complete()]


def _enqueue_uniform(study: optuna.Study, config: SearchConfig, layers: Sequence[str]) -> None:
    """Enqueues the uniform policies that are neither evaluated nor enqueued.

    Args:
      study: no other process works on it; trials that a killed one left running are failed.
      config: options of the search.
      layers: paths of the layers.
    """
    for trial in study.get_trials(states=(optuna.trial.TrialState.RUNNING,)):
        study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
    waiting = study.get_trials(states=(optuna.trial.TrialState.WAITING,))
    complete = study.get_trials(states=(optuna.trial.TrialState.COMPLETE,))
    there = [trial.system_attrs["fixed_params"] for trial in waiting]
    there += [trial.params for trial in complete]
    for chunk in config.chunks:
        for width in sorted(config.bits, reverse=True):
            uniform = {path: width for path in layers} | {"chunk": chunk}
            if uniform not in there:
                study.enqueue_trial(uniform)


def _require_same(
    study: optuna.Study,
    config: SearchConfig,
    layers: Sequence[str],
    task: str,
    folder: pathlib.Path,
) -> None:
    """Raises ConfigError if a stored search is another one; notes its options if it is new.

    Args:
      study: the stored search.
      config: options, of which the number of trials and of jobs may change.
      layers: paths of the layers.
      task: names what is measured.
      folder: for the message.
    """
    options = {
        "bits": list(config.bits),
        "chunks": list(config.chunks),
        "population": config.population,
        "seed": config.seed,
        "layers": list(layers),
        "task": task,
    }
    stored = study.user_attrs.get("options")
    if stored is None and not study.trials:
        study.set_user_attr("options", options)
    elif stored != options:
        former = stored if isinstance(stored, dict) else {}
        other = ", ".join(name for name in options if former.get(name) != options[name])
        raise ConfigError(
            f"{folder / STORAGE} is of another search, which differs in {other}: give another "
            "folder, or the options, model, chip and speech that it began with"
        )


def _candidate(chip: str, layers: Sequence[str], trial: optuna.trial.FrozenTrial) -> Candidate:
    bits = {path: trial.params[path] for path in layers}
    return Candidate(
        policy_line(chip, bits),
        bits,
        trial.params["chunk"],
        trial.values[0],
        trial.values[1],
        trial.user_attrs["bytes"],
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
