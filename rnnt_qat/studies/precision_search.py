"""Search of the weight bits of each layer: a Pareto front of error against the chip's cost.

All policies of the search share activation formats and ranges, so that the integers of a layer
depend on the bits of its own weights only. Each layer is frozen and compiled once for every number
of bits; a candidate is put together from them and evaluated by one compiled program (``thaw``).

References: Deb et al., "A Fast and Elitist Multiobjective Genetic Algorithm: NSGA-II" (2002); Li et
al., "EPIM" (2023), which searches the precision of layers with an evolutionary algorithm.
"""

import os
import pathlib
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import optuna
from optuna.storages.journal import JournalFileBackend

from rnnt_qat.infra.config import ConfigError
from rnnt_qat.infra.console import Console
from rnnt_qat.infra.progress import Progress
from rnnt_qat.latency.engine_latency import DecodeCounts
from rnnt_qat.latency.layer_costs import LayerCost, ms_per_second, weight_bytes
from rnnt_qat.studies.precision_candidates import (
    STORAGE,
    Bits,
    Candidate,
    SearchConfig,
    policy_line,
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
    saved: Callable[[], None] = lambda: None,
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
      saved: called after each candidate is stored; what it raises ends the search.

    Raises:
      ConfigError: the folder holds a search with other options or of another task.
    """
    folder.mkdir(parents=True, exist_ok=True)
    _end_with_a_whole_line(folder / STORAGE)
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
                callbacks=[
                    lambda *_: progress.at(len(complete()), config.trials),
                    lambda *_: saved(),
                ],
            )
    return [_candidate(chip, layers, trial) for trial in complete()]


def _end_with_a_whole_line(journal: pathlib.Path) -> None:
    """Cuts off a last line that a kill or an upload has torn, which Optuna would append to."""
    if journal.exists():
        content = journal.read_bytes()
        os.truncate(journal, content.rfind(b"\n") + 1)


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
