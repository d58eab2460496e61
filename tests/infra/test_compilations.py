import jax
import jax.numpy as jnp
import pytest
from jax.experimental.compilation_cache import compilation_cache

from rnnt_qat.infra.compilations import compilations, keep_programs, machine_kind


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A user's cache folder of this test alone."""
    names = ("jax_compilation_cache_dir", "jax_persistent_cache_min_compile_time_secs")
    before = {name: getattr(jax.config, name) for name in names}
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
    monkeypatch.delenv("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    compilation_cache.reset_cache()
    yield tmp_path
    for name, value in before.items():
        jax.config.update(name, value)
    compilation_cache.reset_cache()


def program(x):
    return jnp.tanh(x) * 3 + 1


def test_a_second_run_reads_the_programs_of_the_first(home):
    folder = keep_programs(0.0)
    assert folder == home / "rnnt_qat" / "programs" / machine_kind()
    before, x = compilations(), jax.ShapeDtypeStruct((3,), "float32")
    jax.jit(program).lower(x).compile()
    first = compilations() - before
    assert (first.programs, first.from_cache) == (1, 0)
    assert first.seconds > 0
    assert [path.name[:11] for path in folder.glob("*-cache")] == ["jit_program"]

    jax.clear_caches()
    before = compilations()
    jax.jit(program).lower(x).compile()
    second = compilations() - before
    assert (second.programs, second.from_cache) == (1, 1)
    assert set(second.record()) == {"programs", "programs_from_cache", "program_seconds"}


def test_small_programs_are_not_kept_by_default(home):
    folder = keep_programs(60.0)
    jax.jit(lambda x: x * 5 - 2)(jnp.ones(3))
    assert not list(folder.glob("*-cache"))


def test_the_variable_of_jax_goes_first(home, monkeypatch):
    """Also where it was set after jax was imported, which reads it then."""
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(home / "elsewhere"))
    assert keep_programs(0.2) == home / "elsewhere"
    assert jax.config.values["jax_compilation_cache_dir"] == str(home / "elsewhere")


def test_machines_of_other_features_have_other_folders(monkeypatch):
    import platform

    here = machine_kind()
    monkeypatch.setattr(platform, "libc_ver", lambda: ("glibc", "0.0"))
    assert machine_kind() != here
