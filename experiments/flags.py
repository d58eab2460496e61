"""Flags shared by the programs: a config file with overrides, and the processes of a job."""

import contextlib
import os
import pathlib
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator, Sequence

import jax
from absl import flags
from ml_collections import config_flags
from ml_collections.config_flags.config_flags import ConfigFileFlagParser

from data.data_dir import DATA_DIR as DATA_DIR
from rnnt_qat.experiment.config import ExperimentConfig, Split
from rnnt_qat.infra import processes, program
from rnnt_qat.infra.compilations import keep_programs
from rnnt_qat.infra.config import ConfigError, field_paths, unknown_field_message
from rnnt_qat.infra.config_overrides import from_config_dict
from rnnt_qat.infra.host_memory import keep_freed_memory
from rnnt_qat.infra.local_path import remote_path_message
from rnnt_qat.infra.remote_store import is_remote
from rnnt_qat.input_pipeline.corpus import open_corpus

_COORDINATOR = flags.DEFINE_string(
    "coordinator",
    None,
    "HOST:PORT of process 0, where several processes train together. Those that Slurm, Open MPI or "
    "a cloud TPU started find each other without it.",
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

_PATHS = ("workdir", "model", "models", "output", "results")
"""Flags that name folders and files."""

_MAY_BE_REMOTE: set[str] = set()
"""Those of a program that may name folders of object stores."""

_SHARED = ("data_dir", "cpu_devices", "coordinator", "process_id", "num_processes")


def may_be_remote(*holders: flags.FlagHolder) -> None:
    """Lets flags of this program name folders of object stores (``experiment.remote_paths``)."""
    _MAY_BE_REMOTE.update(holder.name for holder in holders)


def define_config() -> flags.FlagHolder:
    """Defines the flag ``--config=FILE.py``, with ``--config.FIELD=VALUE`` for each field."""
    return config_flags.DEFINE_config_file(
        "config",
        None,
        "A config file, e.g. of experiments/configs; --config.FIELD=VALUE overrides.",
    )


def experiment_config(flag: flags.FlagHolder) -> ExperimentConfig:
    """Returns the config file's experiment with the command line's overrides."""
    return from_config_dict(ExperimentConfig, flag.value)


def define_variants() -> tuple[flags.FlagHolder, flags.FlagHolder]:
    """Defines ``--config=FILE.py`` and ``--variants=A,B``: several experiments of one file."""
    return (
        flags.DEFINE_string("config", None, "A config file, e.g. of experiments/configs."),
        flags.DEFINE_list("variants", None, "Variants of the config file, in order."),
    )


def variants_of(config: flags.FlagHolder, variants: flags.FlagHolder) -> list[ExperimentConfig]:
    """Returns the experiments that the flags of ``define_variants`` name, one or more.

    Raises:
      ConfigError: if there is no such variant, or its config is invalid.
      ValidationError: if a flag is missing.
    """
    if not config.value or not variants.value:
        raise flags.ValidationError("give --config=FILE.py and --variants=A,B")
    return [_parse_config(f"{config.value}:{variant}") for variant in variants.value]


def _parse_config(name: str) -> ExperimentConfig:
    with _named_faults(f"--variants: {name}", name):
        return from_config_dict(ExperimentConfig, ConfigFileFlagParser("config").parse(name))


@contextlib.contextmanager
def _named_faults(flag: str, config: str) -> Iterator[None]:
    """Raises what a config file raises as a ConfigError that names its flag, file and line."""
    try:
        yield
    except Exception as error:  # a config file is user code and may raise anything
        cause = error.__context__ or error  # their parser wraps errors with their tracebacks
        said = str(cause) if isinstance(cause, ConfigError) else _where(cause, config)
        raise ConfigError(f"{flag}: {said}") from error


def numbers(
    flag: flags.FlagHolder, kind: type, at_least: float, at_most: float | None = None
) -> tuple:
    """Parses the numbers of a comma-separated flag.

    Args:
      flag: a flag defined by ``DEFINE_list``.
      kind: ``int`` or ``float``.
      at_least: smallest valid value.
      at_most: largest valid value; None for any that is finite.

    Raises:
      ValidationError: if a value is invalid; the message names the flag.
    """
    largest = sys.float_info.max if at_most is None else at_most
    try:
        values = tuple(map(kind, flag.value))
    except ValueError:
        values = ()
    if not values or not all(at_least <= value <= largest for value in values):
        what = "whole numbers" if kind is int else "numbers"
        bounds = f"of at least {at_least:g}"
        if at_most is not None:
            bounds = f"from {at_least:g} to {at_most:g}"
        raise flags.ValidationError(
            f"--{flag.name}={','.join(flag.value)}: give {what} {bounds}, by comma"
        )
    return values


def output_folder(flag: flags.FlagHolder, path: pathlib.Path) -> pathlib.Path:
    """Creates an output folder, so that an unwritable path is reported before a long computation.

    Args:
      flag: the flag that gives the folder.
      path: path of the folder.

    Raises:
      ValidationError: if the folder is not writable; the message names the flag.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as error:
        raise flags.ValidationError(
            f"--{flag.name}={path}: nothing can be written there ({error.strerror})"
        ) from error
    return path


def test_sets(flag: flags.FlagHolder, by_default: Sequence[Split]) -> tuple[Split, ...]:
    """Returns the test sets listed by a flag; opens each one, so that a missing one fails early.

    Args:
      flag: flag of comma-separated names CORPUS:SPLIT.
      by_default: test sets to return if the flag is empty.

    Raises:
      ConfigError: if a name is not CORPUS:SPLIT.
      CorpusError: if there is no such corpus or split.
    """
    splits = tuple(Split.parse(name) for name in flag.value or ()) or tuple(by_default)
    for split in splits:
        open_corpus(pathlib.Path(DATA_DIR.value), split.corpus, split.split)
    return splits


def set_up_jax(keep_above_s: float = 0.2, several: bool = False) -> None:
    """Configures the cache of compiled programs, the CPU devices and the processes of a job.

    Must be called before any computation.

    Args:
      keep_above_s: compile time in seconds from which programs are kept (``keep_programs``).
      several: whether several processes may share the program's work. A program that does not
        share it, e.g. a sweep that a job of several processes starts on one of them, joins nobody.

    Raises:
      ValidationError: if processes are asked for and the program does not share its work.
    """
    set_up_devices(num_cpu_devices(), keep_above_s)
    if not several:
        if _COORDINATOR.value is not None:
            raise flags.ValidationError(
                f"--coordinator={_COORDINATOR.value}: this program is one process; those of train, "
                "evaluate and export share their work"
            )
        return
    if _COORDINATOR.value is not None:
        processes.join(_COORDINATOR.value, _NUM_PROCESSES.value, _PROCESS_ID.value)
    else:
        processes.join_detected()


def num_cpu_devices() -> int:
    """Returns the number of devices that the CPU stands for."""
    return _CPU_DEVICES.value


def set_up_devices(
    cpu_devices: int, keep_above_s: float = 0.2, beside_others: bool = False
) -> None:
    """Configures memory, the cache of compiled programs and the CPU devices of this process.

    Must be called before any computation.

    Args:
      cpu_devices: number of devices that the CPU stands for.
      keep_above_s: compile time in seconds from which programs are kept (``keep_programs``).
      beside_others: whether other processes use the other cores, so that a device computes in one
        thread.
    """
    keep_freed_memory()  # of workers; the program itself has done so before its first thread
    keep_programs(keep_above_s)
    if cpu_devices > 1:
        jax.config.update("jax_num_cpu_devices", cpu_devices)
        # A device that waits for others occupies a thread of XLA's pool, so there must be more
        # threads than devices. Each device computes in one thread.
        os.environ.setdefault("NPROC", str(4 * cpu_devices))
    if cpu_devices > 1 or beside_others:
        flags_given = os.environ.get("XLA_FLAGS", "")
        os.environ["XLA_FLAGS"] = f"{flags_given} --xla_cpu_multi_thread_eigen=false".strip()


def run(main: Callable[[], int | None]) -> None:
    """Runs a program's ``main`` with ``infra.program.run``; ``--help`` shows flags in groups."""
    program.run(main, _parse, _groups)


def _groups(own: Sequence[flags.Flag]) -> dict[str, list[flags.Flag]]:
    """Returns a program's flags in the groups of its help."""
    shared = [flags.FLAGS[name] for name in _SHARED if name in flags.FLAGS]
    apart = {"config", *(flag.name for flag in shared)}
    config = [flags.FLAGS["config"]] if "config" in flags.FLAGS else []
    return {
        "Config (python -m experiments.options lists its fields)": config,
        "This program": [flag for flag in own if flag.name not in apart],
        "Data": [flag for flag in shared if flag.name == "data_dir"],
        "Machine": [flag for flag in shared if flag.name != "data_dir"],
    }


def _parse(argv: Sequence[str]) -> list[str]:
    argv = _with_equals_signs(argv)
    sys.argv = argv  # the config's parser reads overridden fields from here
    problem = _missing_config(argv) or _misspelt_override(argv)
    if problem:
        raise flags.Error(problem)
    positional = flags.FLAGS(argv)
    _require_local_paths()
    return positional


def _require_local_paths() -> None:
    """Checks the flags that name folders and files.

    Raises:
      IllegalFlagValueError: if one is on another machine and may not be.
    """
    for name in _PATHS:
        value = flags.FLAGS[name].value if name in flags.FLAGS else None
        for path in [value] if isinstance(value, str) else value or ():
            if name in _MAY_BE_REMOTE and is_remote(path):
                continue
            if problem := remote_path_message(path):
                raise flags.IllegalFlagValueError(f"--{name}={path}: {problem}")


def _where(error: BaseException, config: str) -> str:
    """Returns the error of a config file with its line number."""
    file = pathlib.Path(config.partition(":")[0]).name
    lines = [
        f.lineno for f in traceback.extract_tb(error.__traceback__) if f.filename.endswith(file)
    ]
    line = error.lineno if isinstance(error, SyntaxError) else next(reversed(lines), None)
    return f"{type(error).__name__}: {error}" + (f" (line {line})" if line else "")


def _with_equals_signs(argv: Sequence[str]) -> list[str]:
    """Rewrites ``--config FILE`` as ``--config=FILE`` before its fields, as the parser requires."""
    joined, rest = [argv[0]], list(argv[1:])
    while rest:
        argument = rest.pop(0)
        name = argument.lstrip("-")
        ours = name == "config" or name.startswith("config.")
        if argument == "--":
            rest = [argument, *rest]
            break
        if argument.startswith("-") and ours and "=" not in name and rest:
            argument += f"={rest.pop(0)}"
        joined.append(argument)
    files = [a for a in joined if a.lstrip("-").startswith("config=")]
    return [argv[0], *files, *(a for a in joined[1:] if a not in files), *rest]


def _given(argv: Sequence[str]) -> list[tuple[str, str]]:
    """Returns the names and values of flags given as ``--NAME=VALUE``."""
    parts = [a.lstrip("-").partition("=") for a in argv[1:] if a.startswith("-")]
    return [(name, value) for name, _, value in parts]


def _missing_config(argv: Sequence[str]) -> str | None:
    """Returns the error message if ``--config`` is not a file, else None."""
    for name, value in _given(argv):
        path = pathlib.Path(value.partition(":")[0])
        if name == "config" and not path.is_file():
            ours = pathlib.Path(__file__).with_name("configs")
            there = ", ".join(sorted(p.name for p in ours.glob("[!_]*.py")))
            return f"--config={value}: there is no file {path}; experiments/configs has {there}"
    return None


def _misspelt_override(argv: Sequence[str]) -> str | None:
    """Returns the error message for the first unknown ``--config.FIELD``, else None."""
    files = [value for name, value in _given(argv) if name == "config"]
    overrides = [name for name, _ in _given(argv) if name.startswith("config.")]
    if not files:
        return None
    with _named_faults(f"--config={files[-1]}", files[-1]):
        known = field_paths(ConfigFileFlagParser("config").parse(files[-1]).to_dict())
    for name in overrides:
        path = name.removeprefix("config.").partition("[")[0]
        if path not in known:
            return f"--{name}: {unknown_field_message(path, known)}"
    return None
