"""Binds a policy to a model: checks that every rule applies to a layer."""

from rnnt_qat.models.rnnt import RNNTConfig
from rnnt_qat.models.serving_record import serving_record
from rnnt_qat.quant import recorded
from rnnt_qat.quant.policy import PrecisionPolicy
from rnnt_qat.quant.recorded import Path
from rnnt_qat.quant.sites import Sites


def layer_sites(config: RNNTConfig) -> dict[Path, Sites]:
    """Returns the sites of each layer, by module path."""
    return recorded.layer_sites(serving_record(config))


def require_every_rule_used(config: RNNTConfig, policy: PrecisionPolicy) -> None:
    """Checks that every rule of a policy applies to a layer of the model.

    Args:
      config: configuration of the model.
      policy: the policy.

    Raises:
      ValueError: a rule matches no layer, or only layers that an earlier rule matches.
    """
    layers = layer_sites(config)
    unused = policy.unused_rules(layers)
    if unused:
        patterns = ", ".join(repr(rule.pattern) for rule in unused)
        raise ValueError(
            f"policy {policy.name!r}: no layer matches {patterns}; the layers are "
            f"{', '.join('/'.join(path) for path in layers)} and the first rule that matches wins"
        )
