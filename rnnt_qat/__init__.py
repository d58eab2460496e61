"""Accelerator-aware training of streaming RNN transducers. WORKSPACE.md is the map.

The rooms are imported by name (``from rnnt_qat.losses import transducer_loss``): importing the
package itself loads nothing, so that a project that takes one loss does not pay for the rest.
"""

__version__ = "0.2.0"

__all__ = ["__version__"]
