"""A StableHLO file runs in a fresh process that has nothing but JAX."""

import subprocess
import sys

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnnt_qat.export.stablehlo import export_stablehlo, load_stablehlo, signature


def step(x, state):
    kernel = jnp.arange(12, dtype=jnp.float32).reshape(3, 4) / 7
    total = state["sum"] + x @ kernel
    return jnp.tanh(total), {"sum": total, "count": state["count"] + 1}


ARGS = (
    jax.ShapeDtypeStruct((2, 3), jnp.float32),
    {
        "sum": jax.ShapeDtypeStruct((2, 4), jnp.float32),
        "count": jax.ShapeDtypeStruct((), jnp.int32),
    },
)


def test_it_runs_in_a_fresh_process_without_this_project(tmp_path):
    path, given, found = tmp_path / "step.stablehlo", tmp_path / "given.npz", tmp_path / "y.npz"
    export_stablehlo(step, ARGS, path)
    rng = np.random.default_rng(0)
    x, total = rng.normal(size=(2, 3)).astype("f"), rng.normal(size=(2, 4)).astype("f")
    np.savez(given, x=x, total=total)
    program = (
        "import sys, jax, numpy as np\n"
        "from jax import export\n"
        f"program = export.deserialize(bytearray(open({str(path)!r}, 'rb').read()))\n"
        f"given = np.load({str(given)!r})\n"
        "state = {'sum': given['total'], 'count': np.int32(6)}\n"
        "y, state = program.call(given['x'], state)\n"
        f"np.savez({str(found)!r}, y=y, total=state['sum'], count=state['count'])\n"
        "assert 'rnnt_qat' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, cwd=tmp_path)
    y, state = jax.jit(step)(x, {"sum": total, "count": jnp.int32(6)})
    with np.load(found) as result:
        np.testing.assert_array_equal(result["y"], y)
        np.testing.assert_array_equal(result["total"], state["sum"])
        assert result["count"] == 7


def test_the_signature_names_every_array(tmp_path):
    export_stablehlo(step, ARGS, tmp_path / "step")
    assert signature(load_stablehlo(tmp_path / "step")).splitlines() == [
        "argument [0][0]: float32[2,3]",
        "argument [0][1]['count']: int32[]",
        "argument [0][1]['sum']: float32[2,4]",
        "result [0]: float32[2,4]",
        "result [1]['count']: int32[]",
        "result [1]['sum']: float32[2,4]",
    ]


def test_a_class_of_this_project_at_the_boundary_is_refused(tmp_path):
    @flax.struct.dataclass
    class State:
        total: jax.Array

    with pytest.raises((TypeError, ValueError), match="State"):
        export_stablehlo(
            lambda s: s.total + 1, (State(jax.ShapeDtypeStruct((2,), jnp.float32)),), tmp_path / "x"
        )


def test_a_damaged_file_is_named(tmp_path):
    path = tmp_path / "step.stablehlo"
    export_stablehlo(step, ARGS, path)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ValueError, match=r"step\.stablehlo is not a whole"):
        load_stablehlo(path)
