"""The LSTM recurrence, with its weight gradient as one matrix product after the scan.

Differentiating a scan accumulates the gradient of the recurrent kernel step by step: T small
products, each of which reads and writes the whole kernel. The recurrence here has its own VJP: the
backward scan only keeps each step's gradient of the accumulator, and one product over all steps
gives the gradient of the kernel. It is written in terms of an operator set. JAX differentiates the
elementwise part of the cell, and only the linearity of ``accumulate`` is used, so float and
emulated cells share it. Loops are not unrolled: XLA concatenates what unrolled steps keep and fuses
their arithmetic into that concatenation, which then is not vectorized (benchmarks/RESULTS.md).

The forward scan keeps the derivative of each step: the gates and states in floating point, several
vectors per gate of an emulated cell. With ``rematerialize`` it keeps only the accumulator and the
states, from which the backward pass recomputes the cell. ``TemporalGradient`` removes paths through
time from the backward scan.
"""

from functools import partial

import flax.struct
import jax
import jax.numpy as jnp

from rnnt_qat.layers.distinct_scan import distinct_scan
from rnnt_qat.layers.gates import cut_gates
from rnnt_qat.layers.temporal_gradient import TemporalGradient
from rnnt_qat.quant.operators import OperatorSet, Value
from rnnt_qat.typing import Array, Bool, Num, PyTree


@flax.struct.dataclass
class LSTMState:
    """State of an LSTM as the chip holds it (integers under a chip's operators).

    Attributes:
      hidden: hidden state.
      cell: cell state.
    """

    hidden: Num[Array, "B H"]
    cell: Num[Array, "B H"]


def lstm_cell(
    ops: OperatorSet, pre_x: Num[Array, "*S H4"], accumulated: Value, cell: Num[Array, "*S H"]
) -> tuple[Num[Array, "*S H"], Num[Array, "*S H"]]:
    """Computes the cell after its products (Hochreiter & Schmidhuber, 1997).

    Args:
      ops: operators of the layer.
      pre_x: the input's part of the gate pre-activations, stored at "gate_input"; gates in the
        order i, f, g, o.
      accumulated: recurrent product, in the accumulator.
      cell: previous cell state.

    Returns:
      Values of the new hidden and cell state.
    """
    pre = ops.add(ops.load("gate_input", pre_x), accumulated, "gate_pre")
    i, f, g, o = (ops.load("gate_pre", gate) for gate in cut_gates(ops.values(pre)))
    i, f, o = (ops.sigmoid(gate, "gate") for gate in (i, f, o))
    g = ops.tanh(g, "gate")
    kept = ops.mul(f, ops.load("cell", cell), "cell")
    new_cell = ops.add(kept, ops.mul(i, g, "cell"), "cell")
    new_hidden = ops.mul(o, ops.tanh(new_cell, "cell_tanh"), "hidden")
    return ops.values(new_hidden), ops.values(new_cell)


def _recurrent(ops: OperatorSet, kernel: Value, hidden: Num[Array, "*S H"]) -> Value:
    return ops.accumulate(ops.load("hidden", hidden), kernel)


def _select(mask: Bool[Array, "B"], new: Array | float, old: Array | float) -> Array:
    return jnp.where(mask[:, None], new, old)


@partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def lstm_scan(
    rematerialize: bool,
    gradient: TemporalGradient,
    ops: OperatorSet,
    kernel: Value,
    pre_x: Num[Array, "T B H4"],
    mask: Bool[Array, "T B"],
    state: LSTMState,
) -> tuple[Num[Array, "T B H"], Num[Array, "T B H"], LSTMState]:
    """Runs the recurrence; frames outside the mask leave the state unchanged.

    Args:
      rematerialize: whether the backward pass recomputes the cells except for their products. It
        gives the same gradients and saves memory for emulated cells.
      gradient: paths through time that the gradient includes.
      ops: operators of the layer.
      kernel: recurrent kernel [H, 4H] as the chip stores it.
      pre_x: the input's part of the gate pre-activations, stored at "gate_input".
      mask: True where the frame is valid.
      state: state before the first frame.

    Returns:
      Hidden and cell states after every frame, and the state after the last.
    """

    def step(carry: LSTMState, x):
        pre_x_t, mask_t = x
        hidden, cell = lstm_cell(ops, pre_x_t, _recurrent(ops, kernel, carry.hidden), carry.cell)
        new = LSTMState(
            hidden=_select(mask_t, hidden, carry.hidden), cell=_select(mask_t, cell, carry.cell)
        )
        return new, (new.hidden, new.cell)

    final, (hiddens, cells) = jax.lax.scan(step, state, (pre_x, mask))
    return hiddens, cells, final


def _lstm_scan_fwd(rematerialize, gradient, ops, kernel, pre_x, mask, state):
    def step(carry: LSTMState, x):
        pre_x_t, mask_t = x
        accumulated = _recurrent(ops, kernel, carry.hidden)
        (hidden, cell), cell_vjp = jax.vjp(lstm_cell, ops, pre_x_t, accumulated, carry.cell)
        new = LSTMState(
            hidden=_select(mask_t, hidden, carry.hidden), cell=_select(mask_t, cell, carry.cell)
        )
        return new, (new.hidden, new.cell, accumulated if rematerialize else cell_vjp)

    del gradient
    final, (hiddens, cells, kept) = distinct_scan(step, state, (pre_x, mask))
    if rematerialize:
        kept = (pre_x, kept, _previous(state.cell, cells))
    return (hiddens, cells, final), (ops, kernel, mask, state.hidden, hiddens, kept)


def _lstm_scan_bwd(rematerialize, gradient, residuals, cotangents):
    ops, kernel, mask, first_hidden, hiddens, kept = residuals
    d_hiddens, d_cells, d_final = cotangents
    previous_hiddens = _previous(first_hidden, hiddens)
    _, hidden_vjp = jax.vjp(partial(_recurrent, ops, kernel), first_hidden)

    def step(carry, x):
        d_state, d_ops = carry
        d_hidden_out, d_cell_out, mask_t, kept_t, carries = x
        cell_vjp = jax.vjp(lstm_cell, ops, *kept_t)[1] if rematerialize else kept_t
        d_hidden = d_state.hidden + d_hidden_out
        d_cell = d_state.cell + d_cell_out
        d_ops_t, d_pre_x, d_accumulated, d_previous_cell = cell_vjp(
            (_select(mask_t, d_hidden, 0.0), _select(mask_t, d_cell, 0.0))
        )
        # A masked frame passes its state on, whatever paths there are through a cell.
        d_previous = LSTMState(
            hidden=_select(
                mask_t, hidden_vjp(d_accumulated)[0] if gradient.through_hidden else 0.0, d_hidden
            ),
            cell=_select(mask_t, d_previous_cell if gradient.through_cell else 0.0, d_cell),
        )
        if carries is not None:
            d_previous = jax.tree.map(lambda d: jnp.where(carries, d, 0.0), d_previous)
        return (d_previous, _add(d_ops, d_ops_t)), (d_pre_x, d_accumulated)

    (d_state, d_ops), (d_pre_x, d_accumulated) = distinct_scan(
        step,
        (d_final, jax.tree.map(jnp.zeros_like, ops)),
        (d_hiddens, d_cells, mask, kept, gradient.carries(len(mask))),
        reverse=True,
    )
    products, product_vjp = jax.vjp(
        lambda ops, kernel: _recurrent(ops, kernel, previous_hiddens), ops, kernel
    )
    # The accumulator's scale, if it has one, is shared by all steps, so its gradients add up.
    d_products = jax.tree.map(
        lambda out, d: d if d.shape == out.shape else d.sum(axis=0), products, d_accumulated
    )
    d_ops_product, d_kernel = product_vjp(d_products)
    d_mask = jnp.zeros(mask.shape, jax.dtypes.float0)
    return _add(d_ops, d_ops_product), d_kernel, d_pre_x, d_mask, d_state


def _previous(first: Array, after: Array) -> Array:
    """Returns the state before each step, from the first state and the states after each step."""
    return jnp.concatenate([first[None], after[:-1]])


def _add(a: PyTree, b: PyTree) -> PyTree:
    return jax.tree.map(jnp.add, a, b)


lstm_scan.defvjp(_lstm_scan_fwd, _lstm_scan_bwd)
