"""What the counts of a lowered program's loops are, and that the command runs."""

import json
import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import pytest

from benchmarks.loops import bodies

SMALL, KERNEL = (jax.ShapeDtypeStruct(shape, jnp.float32) for shape in ((2, 8), (8, 8)))


def loops(function, *arguments, platform="cuda"):
    traced = jax.jit(function).trace(*arguments)
    return bodies(traced.lower(lowering_platforms=(platform,)).compiler_ir("stablehlo"))


@pytest.mark.parametrize("platform", ["cuda", "tpu"])
def test_a_turn_is_what_it_computes(platform):
    def function(x, kernel):
        def step(carry, _):
            carry = jnp.tanh(carry @ jnp.exp(kernel))
            jnp.sin(carry @ kernel)  # nothing needs it
            return carry, carry.max()

        return jax.lax.scan(step, x, None, length=5)

    outside, loop = loops(function, SMALL, KERNEL, platform=platform)
    assert (outside.depth, outside.operations, outside.dots) == (0, 0, {})
    assert (loop.depth, loop.turns) == (1, 5)
    assert loop.dots == {"f32 x f32 -> f32 [2, 8, 8]": 1}
    # The exponential, which is always the same, product, tanh, maximum and its slice of the
    # output, and the counter.
    assert (loop.operations, loop.constant) == (6, 1)
    assert (loop.reductions, loop.updates, loop.slices) == (1, 1, 0)
    assert loop.name.endswith("while")
    assert (loop.gathers, loop.scatters, loop.host) == (0, 0, ())


def test_loops_inside_conditions_and_functions_called_twice():
    @jax.jit
    def twice(x):
        return x.at[jnp.argmax(x)].add(1.0)

    def function(x):
        def inner(x):
            return jax.lax.while_loop(lambda x: x.sum() < 9, lambda x: twice(twice(x)), x)

        return jax.lax.fori_loop(0, 3, lambda _, x: jax.lax.cond(x[0] > 0, inner, jnp.cos, x), x)

    found = loops(function, jax.ShapeDtypeStruct((4,), jnp.float32))
    assert [(body.depth, body.turns) for body in found] == [(0, 1), (1, 3), (2, None)]
    assert found[2].scatters == 2
    assert found[2].reductions == 2
    assert found[1].scatters == 0


def test_calls_to_the_host_and_types_of_products():
    def function(x, y):
        def step(carry, _):
            jax.debug.callback(lambda _: None, carry.sum())
            carry = jnp.einsum("bij,bjk->bik", carry, y, preferred_element_type=jnp.int32)
            return carry.astype(jnp.int8), None

        return jax.lax.scan(step, x, None, length=2)[0]

    shapes = (jax.ShapeDtypeStruct(shape, jnp.int8) for shape in ((3, 2, 4), (3, 4, 4)))
    loop = loops(function, *shapes, platform="cpu")[1]  # others refuse callbacks from afar
    assert loop.dots == {"i8 x i8 -> i32 [3, 2, 4, 4]": 1}
    assert len(loop.host) == 1
    assert "callback" in loop.host[0]


def test_products_of_the_recurrence_are_of_integers_on_an_accelerator():
    from benchmarks.lowering import lowered, recurrence

    _, forward, _ = lowered(recurrence("w8a8", tiny=True), "cuda")
    assert list(forward.dots) == ["i8 x i8 -> i32 [2, 8, 32]"]
    _, forward, _ = lowered(recurrence("w8a8", tiny=True), "cpu")
    assert list(forward.dots) == ["f32 x f32 -> f32 [2, 8, 32]"]


@pytest.mark.slow
def test_the_command_runs_here(tmp_path):
    path = tmp_path / "lowering.json"
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.lowering", "--tiny", f"--output={path}"],
        capture_output=True,
        text=True,
        env=os.environ | {"JAX_PLATFORMS": "cpu"},
    )
    assert done.returncode == 0, done.stderr
    counted = json.loads(path.read_text())
    assert {"training step, w8a8", "greedy search, float32"} <= set(counted)
    found = [body for program in counted.values() for each in program.values() for body in each]
    assert not any(body["host"] for body in found)
    assert all(body["operations"] > 0 for body in found)
    assert "| loss, logits: cuda, tpu | turns |" in done.stdout
