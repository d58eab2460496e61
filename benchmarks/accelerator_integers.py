"""Whether a device computes the integers of a CPU: the section ``integers`` of the cases."""

import concurrent.futures
import os

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.accelerator_timing import TINY, say


def integers(what: str) -> None:
    """``write`` notes what a CPU computes; ``compare`` computes the same here and compares."""
    from rnnt_qat.quant.policies import CHIPS

    path = os.environ["ACCELERATOR_INTEGERS"]
    names = [*CHIPS, "w8a8", "ethos_u_8x8_16_w4"][:: 4 if TINY else 1]
    with concurrent.futures.ThreadPoolExecutor() as pool:  # compilers run beside each other
        if what == "write":
            found = dict(zip(names, pool.map(_calibrated, names), strict=True))
            flat = {f"{n}/{k}": v for n, arrays in found.items() for k, v in arrays.items()}
            np.savez(path, **flat)
            say(policies=len(names), arrays=len(flat))
            return
        with np.load(path) as file:
            saved = dict(file)
        found = {}
        for name, arrays in zip(names, pool.map(lambda n: _forward(n, saved), names), strict=True):
            found[name] = arrays
    say(device=jax.devices()[0].device_kind, jax=jax.__version__)
    for name, arrays in found.items():
        for key, value in arrays.items():
            expected = saved[f"{name}/{key}"]
            say(policy=name, array=key, size=value.size, differ=int(np.sum(value != expected)))
    rng = np.random.default_rng(0)
    for inner in (64, 1000, 4096):
        a, b = (rng.integers(-128, 128, shape, np.int8) for shape in ((256, inner), (inner, 256)))
        product = jax.jit(lambda a, b: jnp.matmul(a, b, preferred_element_type=jnp.int32))(a, b)
        exact = a.astype(np.int64) @ b.astype(np.int64)
        say(
            policy=f"int8 product, K {inner}", size=exact.size, differ=int(np.sum(product != exact))
        )


def _small():
    from rnnt_qat.models.encoder import EncoderConfig
    from rnnt_qat.models.prediction import LSTMPredictionConfig
    from rnnt_qat.models.rnnt import RNNTConfig

    return RNNTConfig(
        vocabulary=11,
        encoder=EncoderConfig(num_layers=1, hidden_size=24, layers_before_reduction=0),
        prediction=LSTMPredictionConfig(embedding_size=12, hidden_size=16),
        joint_size=16,
    )


def _inputs():
    rng = np.random.default_rng(1)
    features = rng.standard_normal((3, 16, 10), np.float32)
    lengths = np.array([16, 11, 6], np.int32)
    return features, lengths, rng.integers(1, 11, (3, 5), np.int32), np.array([5, 3, 1], np.int32)


def _outputs(name: str):
    """Returns the forward pass under a policy: integers of both networks, and logits."""
    from rnnt_qat.models.rnnt import RNNT
    from rnnt_qat.quant.policies import policy_by_name

    def forward(variables):
        lattice = RNNT(_small(), policy_by_name(name)).apply(variables, *_inputs())
        logits = lattice.head(lattice.encoded[:, :, None], lattice.predicted[:, None])
        return {"encoded": lattice.encoded, "predicted": lattice.predicted, "logits": logits}

    return forward


def _calibrated(name: str) -> dict[str, np.ndarray]:
    from rnnt_qat.models.rnnt import RNNT
    from rnnt_qat.quant.policies import policy_by_name
    from rnnt_qat.quant.quantized_module import QUANT_STATS

    model = RNNT(_small(), policy_by_name(name).calibration())

    def calibrate(key):
        variables = model.init(key, *_inputs())
        _, observed = model.apply(variables, *_inputs(), mutable=[QUANT_STATS])
        return {"params": variables["params"], **observed}

    variables = jax.jit(calibrate)(jax.random.key(0))
    outputs = jax.jit(_outputs(name))(variables)
    leaves = {f"leaf_{n}": leaf for n, leaf in enumerate(jax.tree.leaves(variables))}
    return {k: np.asarray(v) for k, v in (leaves | outputs).items()}


def _forward(name: str, saved: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    from rnnt_qat.models.rnnt import RNNT
    from rnnt_qat.quant.policies import policy_by_name

    model = RNNT(_small(), policy_by_name(name).calibration())
    structure = jax.tree.structure(jax.eval_shape(model.init, jax.random.key(0), *_inputs()))
    leaves = [saved[f"{name}/leaf_{n}"] for n in range(structure.num_leaves)]
    outputs = jax.jit(_outputs(name))(structure.unflatten(leaves))
    return {key: np.asarray(value) for key, value in outputs.items()}
