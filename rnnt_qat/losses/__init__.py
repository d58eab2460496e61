"""Transducer losses: exact from logits, exact without materialized logits, and pruned; CTC."""

from rnnt_qat.losses.ctc import ctc_loss
from rnnt_qat.losses.factored import JointHead, lattice_arcs_factored, transducer_loss_factored
from rnnt_qat.losses.lattice import is_feasible
from rnnt_qat.losses.pruned import transducer_loss_pruned
from rnnt_qat.losses.transducer import transducer_loss

__all__ = [
    "JointHead",
    "ctc_loss",
    "is_feasible",
    "lattice_arcs_factored",
    "transducer_loss",
    "transducer_loss_factored",
    "transducer_loss_pruned",
]
