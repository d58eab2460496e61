"""Flags that the binaries share: a config file with overrides, and the processes of a job."""

import os
import pathlib
import sys
from collections.abc import Callable, Sequence

import jax
from absl import app, flags, logging
from ml_collections import config_flags
from ml_collections.config_flags.config_flags import ConfigFileFlagParser

from data.data_dir import DATA_DIR as DATA_DIR
from rnnt_qat.experiment.config import ExperimentConfig
from rnnt_qat.experiment.recognizer import ModelDirectoryError
from rnnt_qat.export.freeze import FreezeError
from rnnt_qat.infra.config import ConfigError, field_paths, from_config_dict, unknown_field_message
from rnnt_qat.infra.host_memory import keep_freed_memory
from rnnt_qat.input_pipeline.corpus import CorpusError
from rnnt_qat.input_pipeline.tokenizer import TokenizerError
from rnnt_qat.quant.audit import AuditError
from rnnt_qat.training.checkpoints import ConfigMismatchError
from rnnt_qat.training.loop import SkippedBatchesError

_COORDINATOR = flags.DEFINE_string(
    "coordinator", None, "HOST:PORT of process 0, where several processes train together."
)
_PROCESS_ID = flags.DEFINE_integer("process_id", 0, "This process' number.", lower_bound=0)
_NUM_PROCESSES = flags.DEFINE_integer("num_processes", 1, "How many there are.", lower_bound=1)

_CPU_DEVICES = flags.DEFINE_integer(
    "cpu_devices",
    1,
    "Devices that the CPU stands for. One a core trains faster than one over all cores: an LSTM's "
    "steps are too small to share. Batches must hold a row for each.",
    lower_bound=1,
)

# What a user can mend from the message alone; anything else is a bug and keeps its traceback.
_MENDABLE = (
    flags.Error,
    AuditError,
    ConfigError,
    ConfigMismatchError,
    CorpusError,
    FreezeError,
    ModelDirectoryError,
    SkippedBatchesError,
    TokenizerError,
)


def define_config() -> flags.FlagHolder:
    """The flag ``--config=FILE.py``, with ``--config.FIELD=VALUE`` for each field."""
    return config_flags.DEFINE_config_file("config", None, "A file of experiments/configs.")


def experiment_config(flag: flags.FlagHolder) -> ExperimentConfig:
    """The config file's experiment with the command line's overrides."""
    return from_config_dict(ExperimentConfig, flag.value)


def set_up_jax(workdir: pathlib.Path) -> None:
    """Keeps compiled programs for restarts; makes the devices and meets the processes asked for.

    To be called before anything computes.
    """
    keep_freed_memory()
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        jax.config.update("jax_compilation_cache_dir", str(workdir / "compilation_cache"))
    if _CPU_DEVICES.value > 1:
        jax.config.update("jax_num_cpu_devices", _CPU_DEVICES.value)
        # A device waits for the others inside a thread of XLA's pool, so there must be more threads
        # than devices; each computes in its own.
        os.environ.setdefault("NPROC", str(4 * _CPU_DEVICES.value))
        flags_given = os.environ.get("XLA_FLAGS", "")
        os.environ["XLA_FLAGS"] = f"{flags_given} --xla_cpu_multi_thread_eigen=false".strip()
    if _COORDINATOR.value is not None:
        jax.config.update("jax_cpu_collectives_implementation", "gloo")
        # JAX would take SIGTERM for itself, and the trainer would never hear of it.
        jax.config.update("jax_enable_preemption_service", False)
        jax.distributed.initialize(_COORDINATOR.value, _NUM_PROCESSES.value, _PROCESS_ID.value)


def run(main: Callable[[], int | None]) -> None:
    """``app.run`` for a ``main`` without positional arguments; ends with its exit code."""

    def checked(argv: list[str]) -> int | None:
        if len(argv) > 1:
            raise app.UsageError(f"unexpected arguments: {argv[1:]}")
        logging.set_verbosity(logging.WARNING)  # Orbax and JAX tell of every thread
        try:
            return main()
        except _MENDABLE as error:
            sys.exit(f"{type(error).__name__}: {error}")

    app.run(checked, flags_parser=_parse)


def _parse(argv: Sequence[str]) -> list[str]:
    try:
        problem = _missing_config(argv) or _misspelt_override(argv)
        if problem:
            sys.exit(problem)
        return flags.FLAGS(list(argv))
    except ConfigError as error:  # of a variant that a config file does not have
        sys.exit(f"ConfigError: {error}")
    except flags.Error as error:
        sys.exit(f"{error}\n`{argv[0]} --help` lists the flags.")


def _given(argv: Sequence[str]) -> list[tuple[str, str]]:
    """Names and values of the flags written as ``--NAME=VALUE``."""
    parts = [a.lstrip("-").partition("=") for a in argv[1:] if a.startswith("-")]
    return [(name, value) for name, _, value in parts]


def _missing_config(argv: Sequence[str]) -> str | None:
    """What is wrong with a ``--config`` that is no file."""
    for name, value in _given(argv):
        path = pathlib.Path(value.partition(":")[0])
        if name == "config" and not path.is_file():
            ours = pathlib.Path(__file__).with_name("configs")
            there = ", ".join(sorted(p.name for p in ours.glob("[!_]*.py")))
            return f"--config={value}: there is no file {path}; experiments/configs has {there}"
    return None


def _misspelt_override(argv: Sequence[str]) -> str | None:
    """What is wrong with the first ``--config.FIELD`` that the config file does not have."""
    files = [value for name, value in _given(argv) if name == "config"]
    overrides = [name for name, _ in _given(argv) if name.startswith("config.")]
    if not files or not overrides:
        return None
    known = field_paths(ConfigFileFlagParser("config").parse(files[-1]).to_dict())
    for name in overrides:
        path = name.removeprefix("config.").partition("[")[0]
        if path not in known:
            return f"--{name}: {unknown_field_message(path, known)}"
    return None
