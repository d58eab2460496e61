"""A stack of LSTMs, forward and backward, on one CPU core: ours, Flax's and PyTorch's.

    sh benchmarks/make_peers.sh FOLDER      # once; prints the next line's flags
    python -m benchmarks.lstm --peer_python=... --output=lstm.json

Asked for are the loss and its gradients by the inputs, all kernels and all biases. The floating
point contestants share their kernels; their losses and gradients are compared before the figures
count. The others are our stack under an accelerator's arithmetic, forward and backward, and stacks
that keep no derivatives for the backward pass but compute the cells once more ("rematerialized").
"""

import sys
import time

from absl import flags

from benchmarks import measure
from benchmarks.lstm_inputs import Stack
from rnnt_qat.infra.program import run

_OUTPUT = flags.DEFINE_string("output", "lstm.json", "file for the figures")
_ROUNDS = flags.DEFINE_integer("rounds", 9, "interleaved steps of each contestant")
_CORE = flags.DEFINE_integer("core", 0, "core that everything is pinned to")
_CLOCK = flags.DEFINE_enum("clock", "cpu", ["cpu", "wall"], "time of the table and its ratios")
_PEER_PYTHON = flags.DEFINE_string("peer_python", sys.executable, "interpreter with torch")
_STACKS = flags.DEFINE_multi_string(
    "stack", ["5,512,8,200", "1,256,13,96"], "layers,width,rows,frames"
)
_POLICIES = flags.DEFINE_list(
    "policies", ["float32", "w8a8", "ethos_u_8x8_16", "generic_nna"], "arithmetic of our stacks"
)
_AGAIN = flags.DEFINE_list(
    "rematerialized", ["float32", "ethos_u_8x8_16"], "arithmetic of our rematerialized stacks"
)
_WORKER = flags.DEFINE_list("worker", [], "internal: contestant, sizes")

FLAX, TORCH = "flax nn.RNN", "torch.nn.LSTM"
EXACT = ("rnnt_qat float32", FLAX, TORCH)


def worker(name: str, *sizes: str) -> None:
    """One contestant in JAX, served to the parent."""
    import jax
    import jax.numpy as jnp

    stack = Stack.parse(",".join(sizes))
    xs, cotangent = jnp.asarray(stack.inputs()), jnp.asarray(stack.cotangent())
    if name == FLAX:
        params, run = flax_stack(stack)
    else:
        _, policy, *again = name.split()
        params, run = our_stack(stack, policy, bool(again))

    def loss(params, xs):
        return jnp.sum(run(params, xs) * cotangent)

    step = jax.jit(jax.value_and_grad(loss, (0, 1))).lower(params, xs)
    began = time.perf_counter()
    compiled = step.compile()
    compile_s = time.perf_counter() - began
    value, (_, by_input) = compiled(params, xs)
    measure.serve(
        lambda: jax.block_until_ready(compiled(params, xs)),
        {
            "jax": jax.__version__,
            "compile_s": compile_s,
            "loss": float(value),
            "input_gradient": float(jnp.linalg.norm(by_input)),
        },
    )


def our_stack(stack: Stack, policy_name: str, rematerialize: bool):
    """Our layers under a policy, calibrated on the very inputs."""
    import jax
    import jax.numpy as jnp

    from rnnt_qat.layers.lstm import LSTM
    from rnnt_qat.quant.policies import policy_by_name
    from rnnt_qat.quant.qtensor import dequantize
    from rnnt_qat.quant.quantized_module import QUANT_STATS

    policy = policy_by_name(policy_name)
    mask = jnp.ones((stack.rows, stack.frames), bool)
    names = ("input_kernel", "recurrent_kernel", "bias")
    params = [
        dict(zip(names, map(jnp.asarray, kernels), strict=True)) for kernels in stack.kernels()
    ]
    calibrating = LSTM(policy.calibration(), stack.width)
    observe = jax.jit(lambda p, x: calibrating.apply({"params": p}, x, mask, mutable=[QUANT_STATS]))
    ranges, xs = [], jnp.asarray(stack.inputs())
    for layer in params:
        (xs, _, _), observed = observe(layer, xs)
        ranges.append(observed)

    def run(params, xs):
        for layer, observed in zip(params, ranges, strict=True):
            variables = {"params": layer, **observed}
            xs, _, _ = LSTM(policy, stack.width, rematerialize).apply(variables, xs, mask)
        return dequantize(xs)

    return params, run


def flax_stack(stack: Stack):
    """``nn.RNN`` over ``OptimizedLSTMCell``, as Flax documents it."""
    import flax.linen as nn
    import jax.numpy as jnp

    params = []
    for input_kernel, recurrent_kernel, bias in stack.kernels():
        cell = {}
        for k, gate in enumerate("ifgo"):
            part = slice(k * stack.width, (k + 1) * stack.width)
            cell[f"i{gate}"] = {"kernel": jnp.asarray(input_kernel[:, part])}
            cell[f"h{gate}"] = {
                "kernel": jnp.asarray(recurrent_kernel[:, part]),
                "bias": jnp.asarray(bias[part]),
            }
        params.append({"cell": cell})
    layer = nn.RNN(nn.OptimizedLSTMCell(stack.width))

    def run(params, xs):
        for variables in params:
            xs = layer.apply({"params": variables}, xs)
        return xs

    return params, run


def entries(sizes: str) -> list[measure.Entry]:
    """All contestants of one stack."""
    names = [f"rnnt_qat {policy}" for policy in _POLICIES.value]
    names += [f"rnnt_qat {policy} rematerialized" for policy in _AGAIN.value] + [FLAX]
    in_jax = [
        measure.worker(name, "benchmarks.lstm", f'--worker="{name}",{sizes}') for name in names
    ]
    peer = measure.worker(TORCH, "benchmarks.lstm_peers", sizes, python=_PEER_PYTHON.value)
    return [*in_jax, peer]


def check_agreement(rows: list[measure.Row]) -> None:
    """Raises ValueError if floating point contestants differ by more than 1e-3 of the value."""
    exact = [row for row in rows if row.name in EXACT and not row.skipped]
    for key in ("loss", "input_gradient"):
        found = {row.name: float(str(row.notes[key])) for row in exact}
        if max(found.values()) - min(found.values()) > 1e-3 * abs(max(found.values(), key=abs)):
            raise ValueError(f"contestants do not compute the same {key}: {found}")


def main() -> None:
    if _WORKER.value:
        worker(*_WORKER.value)
        return
    measure.pin([_CORE.value])
    cases = {}
    for sizes in _STACKS.value:
        rows = measure.measure(entries(sizes), _ROUNDS.value)
        check_agreement(rows)
        cases[sizes] = rows
        print(f"\n{sizes}\n\n{measure.table(rows, FLAX, _CLOCK.value)}", flush=True)
        for row in rows:
            if "compile_s" in row.notes:
                print(f"{row.name}: compiled in {row.notes['compile_s']:.1f} s", flush=True)
    measure.save(_OUTPUT.value, cases, sys.argv)


if __name__ == "__main__":
    run(main)
