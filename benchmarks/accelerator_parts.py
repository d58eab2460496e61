"""Times of a recognizer's parts, ours and those of others: products, losses, LSTM stacks."""

import dataclasses
import statistics
import time

import jax
import jax.numpy as jnp

from benchmarks.accelerator_timing import HOST, ROUNDS, TINY, normal, rate, say, timed


def matmul() -> None:
    """Products of square matrices: what the device can do at best."""
    size = 256 if TINY else 1024 if HOST else 8192
    kinds = (("float32", None), ("bfloat16", "float32"), ("int8", "int32"))
    for kind, sum_in in kinds:
        a = (10 * normal(0, size, size)).astype(kind)
        row = timed(lambda a, b, s=sum_in: jnp.matmul(a, b, preferred_element_type=s), a, a)
        say(type=kind, size=size, **row, tera_per_s=2e-12 * size**3 / (row["ms"] / 1e3))


def loss(form: str) -> None:
    """The transducer loss with its gradients, from logits or with the joint inside."""
    from benchmarks.loss_inputs import Case
    from rnnt_qat.losses import (
        transducer_loss,
        transducer_loss_factored,
        transducer_loss_pruned,
    )
    from rnnt_qat.models.joint import JointHead
    from rnnt_qat.quant.operators import FloatOperators

    sizes = ["8,200,50,512", "30,300,70,500,ragged"]
    if TINY or HOST:
        sizes = ["2,16,5,12,ragged"] if TINY else ["8,100,25,128"]
    for text in sizes:
        case = Case.parse(text)
        (frames, lengths), labels = map(jnp.asarray, case.lengths()), jnp.asarray(case.labels())
        if form == "logits":

            def of_logits(logits, frames=frames, labels=labels, lengths=lengths):
                return transducer_loss(logits, frames, labels, lengths).sum()

            row = timed(jax.value_and_grad(of_logits), jnp.asarray(case.logits()))
            say(sizes=text, form="logits", **row)
            continue
        encoded, predicted, kernel, bias = map(jnp.asarray, case.joint())

        def head(kernel, bias):
            return JointHead(FloatOperators(), kernel, bias)

        for chunk in (case.T,) if TINY else (2, 32, case.T):

            def factored(e, p, k, b, chunk=chunk, f=frames, y=labels, n=lengths):
                args = (head(k, b), e, p, f, y, n)
                return transducer_loss_factored(*args, chunk_frames=chunk).sum()

            gradient = jax.value_and_grad(factored, (0, 1, 2, 3))
            row = timed(gradient, encoded, predicted, kernel, bias)
            # Products of the lattice forward, once more, and backward to both operands.
            work = 8 * case.B * case.T * (case.U + 1) * kernel.size
            say(sizes=text, form=f"factored, {chunk} frames at once", **row, **rate(row, work))
        simple = normal(1, case.B, case.T, case.V), normal(2, case.B, case.U + 1, case.V)

        def pruned(e, p, se, sp, k, b, f=frames, y=labels, n=lengths):
            args = (head(k, b), e, p, se, sp, f, y, n)
            both = transducer_loss_pruned(*args, chunk_frames=32)
            return sum(x.sum() for x in both)

        gradient = jax.value_and_grad(pruned, tuple(range(6)))
        row = timed(gradient, encoded, predicted, *simple, kernel, bias)
        say(sizes=text, form="pruned to 5 labels", **row)


def peer(name: str) -> None:
    """A loss of PyTorch on the GPU, from logits, on the larger case of ``loss``."""
    from benchmarks.loss_inputs import Case

    try:
        import torch

        module = __import__("torchaudio.functional" if name == "torchaudio" else name)
    except (ImportError, OSError) as error:
        say(skipped=f"{name} is not installed: {error}")
        return
    if not torch.cuda.is_available():
        say(skipped="torch has no CUDA here")
        return
    for text in ("8,200,50,512", "30,300,70,500,ragged"):
        case = Case.parse(text)
        frames, lengths = (torch.from_numpy(x).cuda() for x in case.lengths())
        labels = torch.from_numpy(case.labels()).cuda()
        logits = torch.from_numpy(case.logits()).cuda().requires_grad_()
        boundary = torch.zeros((case.B, 4), dtype=torch.int64, device="cuda")
        boundary[:, 2], boundary[:, 3] = lengths, frames

        def step(logits=logits, labels=labels, f=frames, n=lengths, boundary=boundary):
            if name == "torchaudio":
                found = module.functional.rnnt_loss(logits, labels, f, n, 0, reduction="sum")
            else:
                found = module.rnnt_loss(logits, labels.long(), 0, boundary, reduction="sum")
            torch.autograd.grad(found, logits)
            torch.cuda.synchronize()

        step()
        torch.cuda.reset_peak_memory_stats()
        times = []
        for _ in range(ROUNDS):
            begun = time.perf_counter()
            step()
            times.append(time.perf_counter() - begun)
        peak = torch.cuda.max_memory_allocated() / 1e6
        say(sizes=text, form=name, ms=1e3 * statistics.median(times), peak_mb=peak)


def lstm(who: str) -> None:
    """A stack of LSTMs, forward and backward: ours under policies, or Flax's and cuDNN's."""
    from benchmarks.lstm import flax_stack, our_stack
    from benchmarks.lstm_inputs import Stack

    stack = Stack(5, 1024, 32, 200)
    if TINY or HOST:
        stack = Stack(2, 16, 4, 8) if TINY else Stack(3, 256, 8, 64)
    xs, cotangent = jnp.asarray(stack.inputs()), jnp.asarray(stack.cotangent())

    def measured(name, params, run):
        gradient = jax.value_and_grad(lambda p, xs: jnp.sum(run(p, xs) * cotangent), (0, 1))
        row = timed(gradient, params, xs)
        weights = 8 * stack.layers * stack.width**2
        work = rate(row, 6 * weights * stack.rows * stack.frames)
        say(stack=str(dataclasses.astuple(stack)), form=name, **row, **work)

    if who == "ours":
        for policy in ("w8a8",) if TINY else ("float32", "w8a8", "ethos_u_8x8_16"):
            measured(policy, *our_stack(stack, policy, rematerialize=False))
        return
    measured("flax nn.RNN", *flax_stack(stack))
    if jax.devices()[0].platform != "gpu":
        say(form="cuDNN", skipped="there is no GPU")
        return
    from jax.experimental import rnn

    count = rnn.get_num_params_in_lstm(stack.width, stack.width, stack.layers, False)
    state = jnp.zeros((stack.layers, stack.rows, stack.width))
    lengths = jnp.full((stack.rows,), stack.frames, jnp.int32)

    def cudnn(weights, xs):
        sizes = (stack.width, stack.width, stack.layers, 0.0, False)
        return rnn.lstm(xs, state, state, weights, lengths, *sizes)[0]

    measured("cuDNN (jax.experimental.rnn)", normal(3, count) * stack.width**-0.5, cudnn)
