"""What every tensor of a recognizer is under a policy: its integers, scale and operators."""

from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields

import flax.linen as nn
import jax

from rnnt_qat.accelerators.spec import Operator
from rnnt_qat.models.rnnt import RNNT, RNNTConfig, example_inputs
from rnnt_qat.quant.policies import FLOAT32
from rnnt_qat.quant.policy import PrecisionPolicy
from rnnt_qat.quant.precision import Precision
from rnnt_qat.quant.quantized_module import QuantizedModule
from rnnt_qat.quant.sites import Role, Sites

Path = tuple[str, ...]

_WRITTEN_BY = {
    Role.GATE_PRE: (Operator.DOT, Operator.ADD),
    Role.GATE: (Operator.SIGMOID, Operator.TANH),
    Role.CELL: (Operator.MUL, Operator.ADD),
    Role.HIDDEN: (Operator.MUL,),
    Role.PROJECTION: (Operator.DOT,),
    Role.JOINT_PRE: (Operator.ADD,),
    Role.JOINT_HIDDEN: (Operator.TANH,),
    Role.LOGITS: (Operator.DOT,),
}
"""Operators whose results a role holds; the others' tensors are inputs and constants."""


@dataclass(frozen=True)
class TensorRow:
    """One tensor of one layer.

    Attributes:
      layer: module path.
      tensor: its site.
      role: what it is for.
      numbers: their kind and bits.
      scale: rule of the real value of a step.
      operators: which write it, and whether the NPU or the CPU computes them.
    """

    layer: str
    tensor: str
    role: str
    numbers: str
    scale: str
    operators: str


def layer_sites(config: RNNTConfig, feature_size: int) -> dict[Path, Sites]:
    """The sites that each layer declares, by module path."""
    found: dict[Path, Sites] = {}

    def note(method, arguments, options, context):
        if isinstance(context.module, QuantizedModule) and context.method_name == "operators":
            found[context.module.path] = arguments[0]
        return method(*arguments, **options)

    with nn.intercept_methods(note):
        model = RNNT(config, FLOAT32)
        jax.eval_shape(model.init, jax.random.key(0), *example_inputs(config, feature_size))
    return dict(sorted(found.items()))


def tensor_rows(
    config: RNNTConfig, policy: PrecisionPolicy, feature_size: int
) -> tuple[TensorRow, ...]:
    """Every tensor of the model, layer by layer.

    Raises:
      ValueError: a rule of the policy matches no layer, or a layer matches no rule.
    """
    layers = layer_sites(config, feature_size)
    unused = policy.unused_rules(layers)
    if unused:
        patterns = ", ".join(repr(rule.pattern) for rule in unused)
        raise ValueError(
            f"policy {policy.name!r}: no layer matches {patterns}; the layers are "
            f"{', '.join('/'.join(path) for path in layers)}"
        )
    rows = []
    for path, sites in layers.items():
        precision = policy.resolve(path)
        for site, role in sites.items():
            format = precision.tensor_format(role)
            operators = _placement(precision, _WRITTEN_BY.get(role, ()))
            row = "/".join(path), site, role.value, format.numbers, format.scale, operators
            rows.append(TensorRow(*row))
    return tuple(rows)


def text_table(rows: Sequence[TensorRow]) -> str:
    """Aligned columns under their names."""
    cells = [tuple(field.name for field in fields(TensorRow)), *map(astuple, rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = ["  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)) for row in cells]
    return "\n".join(line.rstrip() for line in lines)


def _placement(precision: Precision, operators: Sequence[Operator]) -> str:
    chip = precision.on_chip()
    places = {
        "NPU": [o.value for o in operators if o in chip],
        "CPU": [o.value for o in operators if o not in chip],
    }
    return "; ".join(f"{place}: {', '.join(names)}" for place, names in places.items() if names)
