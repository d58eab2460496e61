"""``generic_nna`` with the cheapest published sigmoid and tanh, whose errors are visible."""

from dataclasses import replace

from rnnt_qat.accelerators.design import changed_chip
from rnnt_qat.accelerators.generic_nna import GENERIC_NNA

GENERIC_NNA_CRUDE = replace(
    changed_chip(
        GENERIC_NNA,
        {
            # One shift and two comparisons: the first-order expansions at 0, clipped.
            "gate.unit": "hard",
            "joint_hidden.unit": "hard",
            # Gates as wide as the activations can use the multipliers of the matrix products.
            "gate.bits": 8,
            # Adding half before a shift does not depend on the sign.
            "rounding": "up",
        },
        "generic_nna_crude",
    ),
    description=(
        "Our own design of a small chip without tables: hard sigmoid clip(x/4 + 1/2, 0, 1) and "
        "hard tanh clip(x, -1, 1), as Gulcehre et al. define them ('Noisy Activation Functions', "
        "2016) and as LSTM accelerators on small FPGAs offer them beside tables (Qian et al., "
        "'Energy Efficient LSTM Accelerators for Embedded FPGAs', ARCS 2023); 8-bit gates beside "
        "a 16-bit cell (8/16-bit LSTM silicon: Paulin et al., 'Vau da Muntanialas', 2021); "
        "rounding by adding half. Four lines instead of one (gate.unit=plan) are those of Amin, "
        "Curtis & Hayes-Gill (1997). All else is generic_nna's."
    ),
)
