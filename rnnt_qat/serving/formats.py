"""The format of every tensor of a recognizer under a policy: integers, scale and operators."""

from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields

from rnnt_qat.accelerators.spec import Operator
from rnnt_qat.models.binding import layer_sites, require_every_rule_used
from rnnt_qat.models.rnnt import RNNTConfig
from rnnt_qat.models.serving_record import serving_record
from rnnt_qat.quant.policy import PrecisionPolicy
from rnnt_qat.quant.precision import Precision
from rnnt_qat.quant.recorded import written_by


@dataclass(frozen=True)
class TensorRow:
    """One tensor of one layer.

    Attributes:
      layer: module path.
      tensor: site of the tensor.
      role: role of the tensor.
      numbers: number type and width.
      scale: rule of the scale.
      operators: the operators that write it, and whether the NPU or the CPU computes them.
    """

    layer: str
    tensor: str
    role: str
    numbers: str
    scale: str
    operators: str


def tensor_rows(config: RNNTConfig, policy: PrecisionPolicy) -> tuple[TensorRow, ...]:
    """Lists every tensor of the model, layer by layer.

    Args:
      config: configuration of the model.
      policy: precision of every layer.

    Raises:
      ValueError: a rule of the policy matches no layer, or a layer matches no rule.
    """
    require_every_rule_used(config, policy)
    layers, writers = layer_sites(config), written_by(serving_record(config))
    rows = []
    for path, sites in layers.items():
        precision = policy.resolve(path)
        for site, role in sites.items():
            qformat = precision.tensor_format(role)
            operators = _placement(precision, writers.get((path, site), ()))
            row = "/".join(path), site, role.value, qformat.numbers, qformat.scale, operators
            rows.append(TensorRow(*row))
    return tuple(rows)


def text_table(rows: Sequence[TensorRow]) -> str:
    """Formats rows as aligned columns with a header."""
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
