"""Compiled programs of this process: the folder that keeps them, their number and their time."""

import dataclasses
import functools
import hashlib
import os
import pathlib
import platform

import jax
import jax.monitoring

from rnnt_qat.infra.user_cache import user_cache

_LOWERED = "/jax/core/compile/jaxpr_to_mlir_module_duration"
_COMPILED = "/jax/core/compile/backend_compile_duration"
_READ = "/jax/compilation_cache/cache_hits"


@dataclasses.dataclass(frozen=True)
class Compilations:
    """Programs that were compiled, or read from the persistent cache.

    Attributes:
      programs: number of programs, those read from the cache included.
      from_cache: number of programs read from the persistent cache.
      seconds: time of lowering and compiling or reading them, without tracing, in seconds.
    """

    programs: int = 0
    from_cache: int = 0
    seconds: float = 0.0

    def __sub__(self, earlier: "Compilations") -> "Compilations":
        """Returns what was added since an earlier count."""
        return Compilations(
            self.programs - earlier.programs,
            self.from_cache - earlier.from_cache,
            self.seconds - earlier.seconds,
        )

    def __str__(self) -> str:
        return (
            f"{self.programs} programs ready in {self.seconds:.1f} s, "
            f"{self.from_cache} of them from the cache"
        )

    def record(self) -> dict[str, float]:
        """Returns the fields under the names of run records."""
        return {
            "programs": self.programs,
            "programs_from_cache": self.from_cache,
            "program_seconds": self.seconds,
        }


def compilations() -> Compilations:
    """Counts the programs of this process since the first call."""
    return _counter().count


class _Counter:
    def __init__(self) -> None:
        self.count = Compilations()
        jax.monitoring.register_event_duration_secs_listener(self._timed)
        jax.monitoring.register_event_listener(self._happened)

    def _timed(self, event: str, duration_secs: float, **_: str | int) -> None:
        if event in (_LOWERED, _COMPILED):
            programs = int(event == _COMPILED)
            self.count = dataclasses.replace(
                self.count,
                programs=self.count.programs + programs,
                seconds=self.count.seconds + duration_secs,
            )

    def _happened(self, event: str, **_: str | int) -> None:
        if event == _READ:
            self.count = dataclasses.replace(self.count, from_cache=self.count.from_cache + 1)


@functools.cache
def _counter() -> _Counter:
    return _Counter()


def keep_programs(above_s: float) -> pathlib.Path:
    """Turns on the persistent cache of compiled programs, shared by all runs of this user.

    It is ``JAX_COMPILATION_CACHE_DIR`` if that is set, else a folder of ``XDG_CACHE_HOME``
    (``~/.cache``) for this kind of machine: programs for the CPU contain its instructions, so that
    machines of different kinds that share a home must not share them. JAX distinguishes its own
    versions, devices and compiler flags by itself.

    Args:
      above_s: compile time in seconds from which a program is kept; reading one back takes some
        milliseconds. ``JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS`` replaces it.

    Returns:
      The folder. It only ever grows; it can be deleted at any time.
    """
    # Set in either case: JAX reads the variable when it is imported, which may have been before.
    folder = os.environ.get("JAX_COMPILATION_CACHE_DIR") or str(
        user_cache("programs") / machine_kind()
    )
    jax.config.update("jax_compilation_cache_dir", folder)
    if "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS" not in os.environ:
        jax.config.update("jax_persistent_cache_min_compile_time_secs", above_s)
    return pathlib.Path(folder)


def machine_kind() -> str:
    """Returns the instruction set and a digest of the CPU's features and system libraries."""
    features = platform.processor()
    try:
        lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
        features = next(line for line in lines if line.startswith(("flags", "Features")))
    except (OSError, StopIteration):
        pass  # other systems: the processor's name has to do
    kind = f"{platform.system()} {features} {platform.libc_ver()}"
    return f"{platform.machine()}-{hashlib.sha256(kind.encode()).hexdigest()[:12]}"
