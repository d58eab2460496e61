"""What an adaptation minimises: losses of a frozen transducer on a batch, forward only."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp

from rnnt_qat.batch import Batch, mask_from_lengths
from rnnt_qat.decoding.greedy import GreedyConfig
from rnnt_qat.losses import transducer_loss_factored
from rnnt_qat.models.bound_transducer import BoundTransducer
from rnnt_qat.typing import Array, Float

Objective = Callable[[BoundTransducer, Batch], tuple[Float[Array, ""], Float[Array, ""]]]
"""A sum over a batch, and the number of what it is a sum of."""


def label_loss(
    transducer: BoundTransducer, batch: Batch
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """Returns the transducer loss of a batch, -log P(labels | features), and its labels.

    Args:
      transducer: the recognizer.
      batch: its rows of no labels do not count.
    """
    # `apply` may return changed variables too, but here it does not.
    lattice: Any = transducer.model.apply(
        transducer.variables,
        batch.features,
        batch.feature_lengths,
        batch.labels,
        batch.label_lengths,
    )
    losses = transducer_loss_factored(
        lattice.head,
        lattice.encoded,
        lattice.predicted,
        lattice.encoded_lengths,
        batch.labels,
        batch.label_lengths,
        chunk_frames=8,
    )
    present = batch.label_lengths > 0
    return jnp.where(present, losses, 0).sum(), jnp.float32(batch.label_lengths.sum())


def uncertainty(
    transducer: BoundTransducer, batch: Batch
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """Returns -log P of the choices of greedy search, blanks included, and the encoder frames.

    It reads no label. It estimates the entropy of the recognizer's decisions from their most
    probable values.

    Args:
      transducer: the recognizer.
      batch: its labels are not read.
    """
    features, lengths = batch.features, batch.feature_lengths
    mask = mask_from_lengths(lengths, features.shape[1])
    rows, capacity = features.shape[0], features.shape[1]
    state = transducer.initial_encoder_state(rows)
    encoded, mask, _ = transducer.encode(features, mask, state)
    search = GreedyConfig(max_symbols_per_frame=4, max_tokens=capacity).build()
    found = search.step(transducer, encoded, mask, search.initial_state(transducer, rows))
    return -found.hypothesis.log_prob.sum(), jnp.float32(mask.sum())


OBJECTIVES: dict[str, Objective] = {"labels": label_loss, "confidence": uncertainty}
"""Objectives by name: supervised by transcripts, or by the recognizer's own confidence."""
