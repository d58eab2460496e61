"""A policy bound to a model: does every rule reach a layer?"""

import functools

import flax.linen as nn
import jax

from rnnt_qat.models.rnnt import RNNT, RNNTConfig, example_inputs
from rnnt_qat.quant.policies import FLOAT32
from rnnt_qat.quant.policy import PrecisionPolicy
from rnnt_qat.quant.quantized_module import QuantizedModule
from rnnt_qat.quant.sites import Sites

Path = tuple[str, ...]


@functools.cache
def layer_sites(config: RNNTConfig) -> dict[Path, Sites]:
    """The sites that each layer declares, by module path."""
    found: dict[Path, Sites] = {}

    def note(method, arguments, options, context):
        if isinstance(context.module, QuantizedModule) and context.method_name == "operators":
            found[context.module.path] = arguments[0]
        return method(*arguments, **options)

    with nn.intercept_methods(note):
        model = RNNT(config, FLOAT32)
        # Sites do not depend on the width of the features.
        jax.eval_shape(model.init, jax.random.key(0), *example_inputs(config, feature_size=1))
    return dict(sorted(found.items()))


def require_every_rule_used(config: RNNTConfig, policy: PrecisionPolicy) -> None:
    """Refuses a policy that names layers which the model does not have.

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
