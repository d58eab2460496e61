"""The policy grammar: one line of text, as in configs, command lines, reports and file names.

    policy    = precision [ "[" rule { "," rule } "]" ] [ "@" PART ] { "+" SUFFIX }
    precision = NAME [ "{" change { "," change } "}" ]
    change    = FIELD "=" ( VALUE | "[" VALUE { "," VALUE } "]" )
    rule      = PATTERN ":" ( precision | change | "{" change { "," change } "}" )

A NAME is ``float32``, ``w4a8``, a chip, or a chip with narrower kernels (``generic_nna_w4``). A
rule that consists of changes only applies them to the policy's default precision, for the layers
that match its PATTERN; the first match wins. Several values in brackets are choices: the line then
stands for one policy per combination. Blanks between words are ignored. For example:

    ethos_u_8x8_16[encoder/*:weights=4, joint:weights=8]
    generic_nna{gate.unit=[table256,table64,plan,hard], cell.bits=[16,8]}+mse
"""

import difflib
import hashlib
import itertools
import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, NoReturn, TypeVar

from rnnt_qat.accelerators.design import FieldValues, Value
from rnnt_qat.quant.policy_spec import (
    ALIASES,
    PolicySpec,
    PrecisionSpec,
    RuleSpec,
    fields_of,
    named_precision,
    precision,
    printed_field,
)

Item = TypeVar("Item")

_WORD = re.compile(r"[\w.]+")
_PATTERN = re.compile(r"[\w./*?-]+")
_UNSAFE = re.compile(r"[^\w.+@=-]+")
_LONGEST = 100


class PolicyError(ValueError):
    """A line that is not a valid policy; the message marks the position.

    Args:
      text: the line.
      position: index of the first wrong character.
      reason: description of the error.
    """

    def __init__(self, text: str, position: int, reason: str):
        super().__init__(f"{text}: {reason}\n    {text}\n    {' ' * position}^")


@dataclass(frozen=True)
class Vocabulary:
    """The names that the grammar accepts.

    Attributes:
      bases: names of bases of precisions.
      ready_made: names of policies and precisions, listed in error messages.
      parts: words allowed after ``@``.
      suffixes: words allowed after ``+``, by the field of ``PolicySpec`` that they set.
    """

    bases: Collection[str]
    ready_made: Sequence[str]
    parts: Sequence[str]
    suffixes: dict[str, Sequence[str]]


def parse_policies(
    text: str, vocabulary: Vocabulary, check: Callable[[PolicySpec], object]
) -> tuple[PolicySpec, ...]:
    """Parses the policies of a line; a line with choices has more than one.

    Args:
      text: the line.
      vocabulary: the accepted names.
      check: raises ValueError for a policy that cannot be built.

    Raises:
      PolicyError: the line is not valid; the message marks the position and the closest word.
    """
    written = _Parser(text, vocabulary).policy()
    policies = tuple(
        written.policy(dict(zip(written.choices, values, strict=True)))
        for values in itertools.product(*written.choices.values())
    )
    for policy in policies:
        try:
            check(policy)
        except ValueError as error:
            raise PolicyError(text, written.position_of(policy, check), str(error)) from None
    return policies


def split_policies(text: str) -> list[str]:
    """Splits a comma-separated list of lines; commas within braces or brackets do not separate."""
    lines, depth = [""], 0
    for character in text:
        depth += (character in "{[") - (character in "}]")
        if character == "," and depth == 0:
            lines.append("")
        else:
            lines[-1] += character
    return [line.strip() for line in lines if line.strip()]


def slug(text: str) -> str:
    """Returns a file name: the line if it is safe, else its safe characters and a hash."""
    if not _UNSAFE.search(text) and len(text) <= _LONGEST:
        return text
    digest = hashlib.sha256(text.encode()).hexdigest()[:8]
    return f"{_UNSAFE.sub('-', text)[:_LONGEST].strip('-')}-{digest}"


class _WrittenChange(NamedTuple):
    """A parsed ``field=value`` or choice of values, identified by its position."""

    field: str
    position: int


class _WrittenPrecision(NamedTuple):
    """A parsed precision; without a name, it is a rule that changes the default precision."""

    name: PrecisionSpec | None
    changes: tuple[_WrittenChange, ...]
    position: int

    def spec(
        self, default: PrecisionSpec | None, chosen: dict[_WrittenChange, Value]
    ) -> PrecisionSpec:
        """Builds the precision.

        Args:
          default: the precision that a rule without a name changes.
          chosen: the value chosen for each change.
        """
        base = self.name or default
        assert base is not None
        values = base.values | {change.field: chosen[change] for change in self.changes}
        return precision(base.base, values)


@dataclass(frozen=True)
class _WrittenPolicy:
    default: _WrittenPrecision
    rules: tuple[tuple[str, _WrittenPrecision], ...]
    part: str
    suffixes: dict[str, tuple[str, int]]
    part_position: int
    choices: dict[_WrittenChange, list[Value]]

    def policy(self, chosen: dict[_WrittenChange, Value]) -> PolicySpec:
        """Builds the policy of one combination of choices."""
        default = self.default.spec(None, chosen)
        rules = (RuleSpec(pattern, body.spec(default, chosen)) for pattern, body in self.rules)
        suffixes = {kind: suffix for kind, (suffix, _) in self.suffixes.items()}
        return PolicySpec(default, tuple(rules), self.part, **suffixes)

    def position_of(self, policy: PolicySpec, check: Callable[[PolicySpec], object]) -> int:
        """Returns the position of the first component that ``check`` rejects.

        Args:
          policy: the policy that was rejected.
          check: raises ValueError for a policy that cannot be built.
        """
        pieces = [(PolicySpec(policy.default), self.default.position)]
        for rule, (_, body) in zip(policy.rules, self.rules, strict=True):
            pieces.append((PolicySpec(rule.precision), body.position))
        growing = replace(policy, observer="", slope="", ranges="")
        pieces.append((growing, self.part_position))
        for kind, (suffix, position) in self.suffixes.items():
            added: dict[str, Any] = {kind: suffix}
            growing = replace(growing, **added)
            pieces.append((growing, position))
        for piece, position in pieces:
            try:
                check(piece)
            except ValueError:
                return position
        return self.default.position


class _Parser:
    """Recursive-descent parser of one line."""

    def __init__(self, text: str, vocabulary: Vocabulary):
        self._text, self._vocabulary = text, vocabulary
        self._position = 0
        self._choices: dict[_WrittenChange, list[Value]] = {}

    def policy(self) -> _WrittenPolicy:
        self._skip_blanks()
        if self._word_ahead() in ALIASES:
            return self._alias()
        default = self._precision()
        rules = self._listed("[", "]", lambda: self._rule(default)) if self._ahead("[") else []
        return self._ending(default, tuple(rules))

    def _alias(self) -> _WrittenPolicy:
        line = ALIASES[self._word("a policy")]
        meant = _Parser(line, self._vocabulary).policy()
        ended = self._ending(meant.default, meant.rules)
        return replace(ended, choices=meant.choices)

    def _ending(
        self, default: _WrittenPrecision, rules: tuple[tuple[str, _WrittenPrecision], ...]
    ) -> _WrittenPolicy:
        part, part_position, suffixes = "", self._position, dict[str, tuple[str, int]]()
        if self._taken("@"):
            part_position = self._position
            part = self._one_of(self._vocabulary.parts, "there is no such part; there are {}")
        while self._taken("+"):
            position, suffix = self._position, self._suffix()
            kind = next(k for k, known in self._vocabulary.suffixes.items() if suffix in known)
            if kind in suffixes:
                first = suffixes[kind][0]
                self._fail(f"+{first} and +{suffix} exclude each other", position)
            suffixes[kind] = suffix, position
        if self._position < len(self._text):
            self._fail(f"{self._text[self._position]!r} is not expected here")
        return _WrittenPolicy(default, rules, part, suffixes, part_position, self._choices)

    def _precision(self) -> _WrittenPrecision:
        position, name = self._position, self._word("a policy")
        found = named_precision(name)
        if found.base not in self._vocabulary.bases:
            known = self._vocabulary.ready_made
            self._fail(
                f"unknown precision policy {name!r}; ready-made: {', '.join(known)}"
                + _nearest(name, [*self._vocabulary.bases, *known]),
                position,
            )
        changes = self._changes(found.base) if self._ahead("{") else ()
        return _WrittenPrecision(found, changes, position)

    def _rule(self, default: _WrittenPrecision) -> tuple[str, _WrittenPrecision]:
        pattern = self._match(_PATTERN, "a pattern of layers, e.g. encoder/*")
        self._expect(":")
        position = self._position
        own = default.name
        assert own is not None
        if self._ahead("{"):
            body = _WrittenPrecision(None, self._changes(own.base), position)
        elif re.compile(r"[\w.]+\s*=").match(self._text, self._position):
            body = _WrittenPrecision(None, (self._change(own.base),), position)
        else:
            return pattern, self._precision()
        return pattern, body

    def _changes(self, base: str) -> tuple[_WrittenChange, ...]:
        changes: dict[str, _WrittenChange] = {}

        def read() -> None:
            position = self._position
            change = self._change(base)
            if change.field in changes:
                self._fail(f"{printed_field(change.field)} is written twice", position)
            changes[change.field] = change

        self._listed("{", "}", read)
        return tuple(changes.values())

    def _change(self, base: str) -> _WrittenChange:
        position = self._position
        known = fields_of(base)
        word = self._word("a field")
        field = next((f for f in (word, f"{word}.bits") if f in known), None)
        if field is None:
            if not known:
                self._fail(f"{base} has no fields to change", position)
            printed = [*known, *map(printed_field, known)]
            self._fail(f"{base} has no field {word!r}{_nearest(word, printed)}", position)
        self._expect("=")

        def read() -> Value:
            return self._value(field, known[field])

        values = self._listed("[", "]", read) if self._ahead("[") else [read()]
        change = _WrittenChange(field, position)
        self._choices[change] = values
        return change

    def _value(self, field: str, values: FieldValues) -> Value:
        position, word = self._position, self._word("a value")
        try:
            return values.read(word)
        except ValueError as error:
            nearest = "" if word.isdecimal() else _nearest(word, values.words)
            self._fail(f"{printed_field(field)}={word}: {error}{nearest}", position)

    def _suffix(self) -> str:
        known = [s for suffixes in self._vocabulary.suffixes.values() for s in suffixes]
        position, word = self._position, self._word("a suffix")
        if word not in known:
            listed = ", ".join(f"+{each}" for each in known)
            self._fail(f"there is no +{word}; there are {listed}{_nearest(word, known)}", position)
        return word

    def _one_of(self, known: Sequence[str], message: str) -> str:
        position, word = self._position, self._word("a name")
        if word not in known:
            self._fail(message.format(", ".join(known)) + _nearest(word, known), position)
        return word

    def _listed(self, opening: str, closing: str, read: Callable[[], Item]) -> list[Item]:
        self._expect(opening)
        items = [read()]
        while self._taken(","):
            items.append(read())
        self._expect(closing)
        return items

    def _word(self, what: str) -> str:
        return self._match(_WORD, what)

    def _word_ahead(self) -> str:
        found = _WORD.match(self._text, self._position)
        return found[0] if found else ""

    def _match(self, pattern: re.Pattern[str], what: str) -> str:
        found = pattern.match(self._text, self._position)
        if not found:
            self._fail(f"{what} is expected here")
        self._position = found.end()
        self._skip_blanks()
        return found[0]

    def _ahead(self, character: str) -> bool:
        return self._text.startswith(character, self._position)

    def _taken(self, character: str) -> bool:
        if not self._ahead(character):
            return False
        self._position += 1
        self._skip_blanks()
        return True

    def _expect(self, character: str) -> None:
        if not self._taken(character):
            self._fail(f"{character!r} is expected here")

    def _skip_blanks(self) -> None:
        while self._text[self._position : self._position + 1].isspace():
            self._position += 1

    def _fail(self, reason: str, position: int | None = None) -> NoReturn:
        raise PolicyError(self._text, self._position if position is None else position, reason)


def _nearest(word: str, known: Collection[str]) -> str:
    found = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    return f"; did you mean {found[0]!r}?" if found else ""
