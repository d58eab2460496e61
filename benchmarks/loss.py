"""Transducer loss, forward and backward, on one CPU core, beside PyTorch's.

    sh benchmarks/make_peers.sh FOLDER      # once; prints the next line's flags
    python -m benchmarks.loss --peer_python=... --peer_library_path=... --output=loss.json

Two forms. *logits*: scores ``[B, T, U + 1, V]`` are given, the loss and their gradient asked for.
*joint*: projections ``[B, T, 256]`` and ``[B, U + 1, 256]`` are given, tanh(e + p) W + b is part of
the work, and the gradients of projections, W and b are asked for. "Logits given up" donates their
buffer, as inside a training step, where they are an intermediate value.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from absl import flags

from benchmarks import measure
from benchmarks.loss_inputs import Case
from rnnt_qat.infra.program import run
from tests.reference import transducer_lattice as reference

OURS = {
    "logits": ("rnnt_qat", "rnnt_qat, logits given up"),
    "joint": ("rnnt_qat factored", "rnnt_qat whole lattice"),
}
PEERS = ("torchaudio", "fast_rnnt")

_OUTPUT = flags.DEFINE_string("output", "loss.json", "file for the figures")
_ROUNDS = flags.DEFINE_integer("rounds", 9, "interleaved steps of each contestant")
_CORE = flags.DEFINE_integer("core", 0, "core that everything is pinned to")
_CLOCK = flags.DEFINE_enum("clock", "cpu", ["cpu", "wall"], "time of the table and its ratios")
_PEER_PYTHON = flags.DEFINE_string("peer_python", sys.executable, "interpreter with the peers")
_PEER_LIBRARIES = flags.DEFINE_string("peer_library_path", "", "LD_LIBRARY_PATH of the peers")
_LOGITS = flags.DEFINE_multi_string(
    "logits",
    ["8,100,20,128", "8,200,50,512", "4,300,60,1024", "8,200,50,512,ragged"],
    "B,T,U,V[,ragged] of the logits form",
)
_JOINT = flags.DEFINE_multi_string(
    "joint",
    ["8,200,50,512", "4,300,60,1024", "8,200,50,512,ragged", "8,200,50,512,sharp"],
    "B,T,U,V[,ragged][,sharp] of the joint form",
)
_ONLY = flags.DEFINE_multi_enum(
    "only", [], [*OURS["logits"], *OURS["joint"], *PEERS], "contestants to measure; all if none"
)
_NO_FILE = "-"
_WORKER = flags.DEFINE_list("worker", [], "internal: contestant, form, sizes, file")

CHECKED = "4,40,15,32,ragged"
RESULT_FILE = "result.npz"


def worker(name: str, form: str, *sizes_and_file: str) -> None:
    """One of our contestants, served to the parent."""
    import flax.struct
    import jax
    import jax.numpy as jnp

    from rnnt_qat.losses import transducer_loss, transducer_loss_factored

    @flax.struct.dataclass
    class Head:
        kernel: jax.Array
        bias: jax.Array

        def __call__(self, encoded, predicted):
            return jnp.tanh(encoded + predicted) @ self.kernel + self.bias

    *sizes, file = sizes_and_file
    case = Case.parse(",".join(sizes))
    frames, lengths = map(jnp.asarray, case.lengths())
    labels = jnp.asarray(case.labels())

    def of_logits(logits):
        each = transducer_loss(logits, frames, labels, lengths)
        return each.sum(), each

    def factored(encoded, predicted, kernel, bias):
        head = Head(kernel, bias)
        each = transducer_loss_factored(head, encoded, predicted, frames, labels, lengths)
        return each.sum(), each

    def whole(encoded, predicted, kernel, bias):
        return of_logits(Head(kernel, bias)(encoded[:, :, None], predicted[:, None]))

    loss, arrays = {
        "rnnt_qat": (of_logits, lambda: (case.logits(),)),
        "rnnt_qat, logits given up": (of_logits, lambda: (case.logits(),)),
        "rnnt_qat factored": (factored, case.joint),
        "rnnt_qat whole lattice": (whole, case.joint),
    }[name]
    inputs = tuple(map(jnp.asarray, arrays()))
    given_up = name.endswith("given up")
    step = jax.jit(
        jax.value_and_grad(loss, tuple(range(len(inputs))), has_aux=True),
        donate_argnums=(0,) if given_up else (),
    ).lower(*inputs)
    began = time.perf_counter()
    compiled = step.compile()
    notes = {"compile_s": time.perf_counter() - began, "jax": jax.__version__}

    if file != _NO_FILE:
        (_, each), gradients = compiled(*inputs)
        np.savez(file, each, *gradients)
        return

    def run():
        if not given_up:
            jax.block_until_ready(compiled(*inputs))
            return None
        # The next step's logits take the place of the gradient: made outside what is timed.
        kept = [inputs[0] + 0]
        jax.block_until_ready(kept)
        return measure.timed(lambda: jax.block_until_ready(compiled(kept.pop())))

    measure.serve(run, notes)


def entries(form: str, sizes: str, file: str = "") -> list[measure.Entry]:
    """All contestants of one case."""
    ours = [
        measure.worker(
            name,
            "benchmarks.loss",
            f'--worker="{name}",{form},{sizes},{file or _NO_FILE}',
        )
        for name in OURS[form]
    ]
    peers = [
        measure.worker(
            name,
            "benchmarks.loss_peers",
            *(name, form, sizes, file),
            python=_PEER_PYTHON.value,
            LD_LIBRARY_PATH=_PEER_LIBRARIES.value,
        )
        for name in PEERS
    ]
    return ours + peers


def check_agreement() -> None:
    """Prints each contestant's largest errors on a small ragged batch.

    Errors are relative to the array's largest entry: loss, then each gradient. The logits form is
    held against float64 loops, the joint form against our whole lattice.

    Raises:
      ValueError: some error exceeds 1e-4 (peers' float32 recursions are off by about 2e-5).
    """
    case = Case.parse(CHECKED)
    batch = (case.logits(), case.lengths()[0], case.labels(), case.lengths()[1])
    truths = {
        "logits": [reference.loss(*batch), reference.logits_gradient(*batch)],
        "joint": _results(entries("joint", CHECKED, RESULT_FILE)[1]),
    }
    for form, truth in truths.items():
        assert truth is not None
        for entry in entries(form, CHECKED, RESULT_FILE):
            found = _results(entry)
            if found is None:
                continue
            errors = [
                float(np.abs(mine - other).max() / np.abs(mine).max())
                for mine, other in zip(truth, found, strict=True)
            ]
            print(f"{form}: {entry.name}: errors {' '.join(f'{e:.1e}' for e in errors)}")
            if not max(errors) < 1e-4:
                raise ValueError(f"{entry.name} is wrong on {CHECKED}: figures would mean nothing")


def _results(entry: measure.Entry) -> list[np.ndarray] | None:
    """Loss and gradients that a contestant writes when its last argument names a file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / RESULT_FILE
        command = [part.replace(RESULT_FILE, str(path)) for part in entry.command]
        environment = {**os.environ, **entry.environment}
        subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)
        if not path.exists():
            return None
        with np.load(path) as results:
            return list(results.values())


def main() -> None:
    if _WORKER.value:
        worker(*_WORKER.value)
        return
    measure.pin([_CORE.value])
    check_agreement()
    cases = {}
    for form, all_sizes in (("logits", _LOGITS.value), ("joint", _JOINT.value)):
        for sizes in all_sizes:
            contestants = entries(form, sizes)
            if _ONLY.value:
                contestants = [entry for entry in contestants if entry.name in _ONLY.value]
            if not contestants:
                continue
            rows = measure.measure(contestants, _ROUNDS.value)
            cases[f"{form} {sizes}"] = rows
            print(
                f"\n{form} {sizes}\n\n{measure.table(rows, 'torchaudio', _CLOCK.value)}", flush=True
            )
    measure.save(_OUTPUT.value, cases, sys.argv)


if __name__ == "__main__":
    run(main)
