"""Precision policies: which layer computes how. Rules by module path, first match wins."""

import fnmatch
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from rnnt_qat.quant.learned_ranges import LearnedRange
from rnnt_qat.quant.observers import MaxObserver, Observer
from rnnt_qat.quant.precision import Precision


@dataclass(frozen=True)
class Rule:
    """Gives a precision to the layers whose path matches.

    Attributes:
      pattern: shell pattern over the module path, e.g. ``encoder/lstm_*``.
      precision: arithmetic of the matching layers.
    """

    pattern: str
    precision: Precision


@dataclass(frozen=True)
class PrecisionPolicy:
    """Precision of every layer of a model.

    Attributes:
      name: short name, ``w{bits}a{bits}``, for tables and files.
      rules: first match wins; a layer that no rule matches is an error.
      calibrating: compute in floating point and record the ranges instead.
      observer: finds the range that a calibrated format should cover.
      learned: how accelerator-aware training trains the ranges on; None leaves them calibrated.
        The rules' precisions know which: those with ``trained_ranges``.
      diagnosing: note what every operator does to its values (``quant.diagnostics``).
    """

    name: str
    rules: tuple[Rule, ...]
    calibrating: bool = False
    diagnosing: bool = False
    observer: Observer = field(default_factory=MaxObserver)
    learned: LearnedRange | None = None

    def resolve(self, path: tuple[str, ...]) -> Precision:
        """Precision of the layer at ``path``."""
        joined = "/".join(path)
        for rule in self.rules:
            if fnmatch.fnmatchcase(joined, rule.pattern):
                return rule.precision
        patterns = ", ".join(repr(rule.pattern) for rule in self.rules)
        raise ValueError(
            f"policy {self.name!r} has no rule for layer {joined!r} (its patterns: {patterns}); "
            "add a rule, or end the list with Rule('*', ...)"
        )

    def calibration(self) -> "PrecisionPolicy":
        """The same rules, observing."""
        return replace(self, calibrating=True)

    def diagnosis(self) -> "PrecisionPolicy":
        """The same arithmetic, noted."""
        return replace(self, diagnosing=True)

    def for_serving(self) -> "PrecisionPolicy":
        """The same rules on frozen integers (``serving.freeze``)."""
        rules = tuple(replace(rule, precision=rule.precision.for_serving()) for rule in self.rules)
        return replace(self, rules=rules)

    def unused_rules(self, paths: Iterable[tuple[str, ...]]) -> tuple[Rule, ...]:
        """Rules that no layer of a model would get; ``models`` make this an error."""
        joined = ["/".join(path) for path in paths]
        used = set()
        for path in joined:
            for rule in self.rules:
                if fnmatch.fnmatchcase(path, rule.pattern):
                    used.add(rule)
                    break
        return tuple(rule for rule in self.rules if rule not in used)
