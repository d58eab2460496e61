"""Precision policies: rules that map module paths to precisions; the first match wins."""

import fnmatch
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from rnnt_qat.quant.learned_ranges import LearnedRange
from rnnt_qat.quant.observers import MaxObserver, Observer
from rnnt_qat.quant.precision import Precision


@dataclass(frozen=True)
class Rule:
    """A precision for the layers whose path matches a pattern.

    Attributes:
      pattern: shell pattern over the module path, e.g. ``encoder/lstm_*``.
      precision: arithmetic of the matching layers.
      observer: calibrates their ranges; None selects the observer of the policy.
    """

    pattern: str
    precision: Precision
    observer: Observer | None = None


@dataclass(frozen=True)
class PrecisionPolicy:
    """The precision of every layer of a model.

    Attributes:
      name: label in tables and files; for a policy parsed from text, its line (``quant.grammar``).
      rules: the first matching rule wins; a layer without a match is an error.
      calibrating: whether layers compute in floating point and record their ranges.
      observing_operands: whether calibrating layers also record the mean operand of each kernel
        (``quant.mean_operands``).
      diagnosing: whether every operator records its errors (``quant.diagnostics``).
      observer: selects the range of a calibrated format, unless the rule has its own observer.
      learned: method that trains the ranges in accelerator-aware training; None keeps them as
        calibrated. It applies to the rules whose precision has ``trained_ranges``.
    """

    name: str
    rules: tuple[Rule, ...]
    calibrating: bool = False
    observing_operands: bool = False
    diagnosing: bool = False
    observer: Observer = field(default_factory=MaxObserver)
    learned: LearnedRange | None = None

    def resolve(self, path: tuple[str, ...]) -> Precision:
        """Returns the precision of the layer at ``path``."""
        return self.rule(path).precision

    def observer_of(self, path: tuple[str, ...]) -> Observer:
        """Returns the observer that calibrates the ranges of the layer at ``path``."""
        return self.rule(path).observer or self.observer

    def rule(self, path: tuple[str, ...]) -> Rule:
        """Returns the rule of the layer at ``path``.

        Raises:
          ValueError: no rule matches.
        """
        found = self._match(path)
        if found is not None:
            return found
        patterns = ", ".join(repr(rule.pattern) for rule in self.rules)
        raise ValueError(
            f"policy {self.name!r} has no rule for layer {'/'.join(path)!r} (its patterns: "
            f"{patterns}); add a rule, or end the list with Rule('*', ...)"
        )

    @property
    def recording(self) -> bool:
        """Whether the operators record, so that a layer repeats the steps of its scan outside."""
        return self.diagnosing or self.observing_operands

    def calibration(self, operands: bool = False) -> "PrecisionPolicy":
        """Returns the policy in calibration mode.

        Args:
          operands: whether the mean operands of kernels are recorded beside the ranges.
        """
        return replace(self, calibrating=True, observing_operands=operands)

    def diagnosis(self) -> "PrecisionPolicy":
        """Returns the policy with diagnostics enabled."""
        return replace(self, diagnosing=True)

    def for_serving(self) -> "PrecisionPolicy":
        """Returns the policy whose layers compute on frozen integers (``serving.freeze``)."""
        rules = tuple(replace(rule, precision=rule.precision.for_serving()) for rule in self.rules)
        return replace(self, rules=rules)

    def unused_rules(self, paths: Iterable[tuple[str, ...]]) -> tuple[Rule, ...]:
        """Returns the rules that match none of a model's layers; ``models.binding`` rejects them.

        A last rule ``*`` is a default and may match nothing.
        """
        used = {self._match(path) for path in paths}
        remainder = bool(self.rules) and self.rules[-1].pattern == "*"
        rules = self.rules[:-1] if remainder else self.rules
        return tuple(rule for rule in rules if rule not in used)

    def _match(self, path: tuple[str, ...]) -> Rule | None:
        joined = "/".join(path)
        matches = (r for r in self.rules if fnmatch.fnmatchcase(joined, r.pattern))
        return next(matches, None)
