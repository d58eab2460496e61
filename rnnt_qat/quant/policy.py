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
      observer: calibrates their ranges; None: the policy's does.
    """

    pattern: str
    precision: Precision
    observer: Observer | None = None


@dataclass(frozen=True)
class PrecisionPolicy:
    """Precision of every layer of a model.

    Attributes:
      name: for tables and files; of a policy that was written down, its line (``quant.grammar``).
      rules: first match wins; a layer that no rule matches is an error.
      calibrating: compute in floating point and record the ranges instead.
      observer: finds the range that a calibrated format should cover, where a rule has no own.
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
        return self.rule(path).precision

    def observer_of(self, path: tuple[str, ...]) -> Observer:
        """Calibrates the ranges of the layer at ``path``."""
        return self.rule(path).observer or self.observer

    def rule(self, path: tuple[str, ...]) -> Rule:
        """The rule that the layer at ``path`` gets.

        Raises:
          ValueError: there is none.
        """
        found = self._match(path)
        if found is not None:
            return found
        patterns = ", ".join(repr(rule.pattern) for rule in self.rules)
        raise ValueError(
            f"policy {self.name!r} has no rule for layer {'/'.join(path)!r} (its patterns: "
            f"{patterns}); add a rule, or end the list with Rule('*', ...)"
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
        """Rules that no layer of a model gets; ``models.binding`` makes this an error.

        A last rule for every layer, ``*``, is what remains, be it nothing.
        """
        used = {self._match(path) for path in paths}
        remainder = bool(self.rules) and self.rules[-1].pattern == "*"
        rules = self.rules[:-1] if remainder else self.rules
        return tuple(rule for rule in rules if rule not in used)

    def _match(self, path: tuple[str, ...]) -> Rule | None:
        joined = "/".join(path)
        matches = (r for r in self.rules if fnmatch.fnmatchcase(joined, r.pattern))
        return next(matches, None)
