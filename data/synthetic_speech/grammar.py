"""Weighted context-free grammars in text files, and sentences drawn from them."""

import dataclasses
import random
import re
from collections.abc import Iterator
from pathlib import Path

GRAMMARS = {
    name: Path(__file__).with_name(f"{name}.grammar")
    for name in ("prompts", "digits", "single_digits", "commands")
}
"""Grammars by the name of the text source."""

PROMPT_GRAMMAR_PATH = GRAMMARS["prompts"]

_TOKEN = re.compile(r"\{(\w+)\}|([\[\]])|([^{}\[\]]+)")
_WEIGHT = re.compile(r"(\d+)\|\s*(.*)")
# "a" before a vowel sound; use(r), USB, uniform and one start with a consonant sound.
_ARTICLE = re.compile(r"\ba (?=[aeioAEIO](?!ne\b|nce\b)|u(?!se|sb|nif|nis)|[FHLMNRSX]\b)")


class GrammarError(ValueError):
    """The grammar file is malformed; the message names the file and the line or rule."""


@dataclasses.dataclass(frozen=True)
class Reference:
    """A part that expands to one alternative of another rule.

    Attributes:
      rule: name of the rule.
    """

    rule: str


@dataclasses.dataclass(frozen=True)
class Optional:
    """A part that expands to its parts with probability 0.5, and otherwise to nothing.

    Attributes:
      parts: its parts.
    """

    parts: tuple["Part", ...]


Part = str | Reference | Optional


@dataclasses.dataclass(frozen=True)
class Rule:
    """The alternatives of a nonterminal.

    Attributes:
      alternatives: parts of each alternative.
      weights: weight of each alternative.
    """

    alternatives: tuple[tuple[Part, ...], ...]
    weights: tuple[int, ...]


class Grammar:
    """Draws sentences from the rule ``sentence``.

    Args:
      text: the grammar, in the format described at the top of ``prompts.grammar``.
      source: name of the grammar in error messages.

    Raises:
      GrammarError: a line is malformed, or a rule is undefined, unused, repeated or recursive.
    """

    start = "sentence"

    def __init__(self, text: str, source: str = "<grammar>"):
        self._source = source
        self.rules = self._parse(text)
        self._check()

    @classmethod
    def from_file(cls, path: Path = PROMPT_GRAMMAR_PATH) -> "Grammar":
        """Reads a grammar file."""
        return cls(path.read_text(encoding="utf-8"), str(path.name))

    def sentences(self, rng: random.Random) -> Iterator[str]:
        """Yields sentences forever, with single spaces and articles that agree with the next word.

        The alternatives of a rule are drawn without replacement from a shuffled deck that holds
        each as often as its weight, and the deck is reshuffled when it is empty. The frequencies
        are those of independent draws, but no alternative is repeated long before another occurs
        once, so an hour covers the vocabulary.
        """
        decks: dict[str, list[tuple[Part, ...]]] = {}
        while True:
            yield _tidy("".join(self._expand(self.start, decks, rng)))

    def words(self) -> set[str]:
        """Returns every word that a sentence may contain, in lower case."""
        words: set[str] = set()

        def visit(parts: tuple[Part, ...]) -> None:
            for part in parts:
                if isinstance(part, str):
                    words.update(re.findall(r"[\w']+", part.lower()))
                elif isinstance(part, Optional):
                    visit(part.parts)

        for rule in self.rules.values():
            for alternative in rule.alternatives:
                visit(alternative)
        return words

    def _expand(self, name: str, decks: dict, rng: random.Random) -> Iterator[str]:
        deck = decks.setdefault(name, [])
        if not deck:
            rule = self.rules[name]
            for alternative, weight in zip(rule.alternatives, rule.weights, strict=True):
                deck.extend([alternative] * weight)
            rng.shuffle(deck)
        yield from self._emit(deck.pop(), decks, rng)

    def _emit(self, parts: tuple[Part, ...], decks: dict, rng: random.Random) -> Iterator[str]:
        for part in parts:
            if isinstance(part, str):
                yield part
            elif isinstance(part, Reference):
                yield from self._expand(part.rule, decks, rng)
            elif rng.random() < 0.5:
                yield from self._emit(part.parts, decks, rng)

    def _parse(self, text: str) -> dict[str, Rule]:
        weighted: dict[str, list[tuple[int, tuple[Part, ...]]]] = {}
        current: list[tuple[int, tuple[Part, ...]]] | None = None
        for number, line in enumerate(text.splitlines(), start=1):
            where = f"{self._source}:{number}"
            body = line.strip()
            if not body or body.startswith("#"):
                continue
            if not line[0].isspace():
                if not re.fullmatch(r"\w+", body):
                    raise GrammarError(f"{where}: {body!r} is not a rule name (letters, digits, _)")
                if body in weighted:
                    raise GrammarError(f"{where}: rule {body!r} is defined twice; join the two")
                current = weighted[body] = []
            elif current is None:
                raise GrammarError(f"{where}: an alternative before the first rule name")
            else:
                match = _WEIGHT.fullmatch(body)
                weight, body = (int(match[1]), match[2]) if match else (1, body)
                if weight < 1:
                    raise GrammarError(f"{where}: weight {weight} must be at least 1")
                current.append((weight, _parse_parts(body, where)))
        rules = {}
        for name, alternatives in weighted.items():
            if not alternatives:
                raise GrammarError(f"{self._source}: rule {name!r} has no alternatives")
            weights, parts = zip(*alternatives, strict=True)
            rules[name] = Rule(parts, weights)
        return rules

    def _check(self) -> None:
        if self.start not in self.rules:
            raise GrammarError(f"{self._source}: no rule {self.start!r} to start from")
        done: set[str] = set()

        def visit(name: str, path: tuple[str, ...]) -> None:
            if name in path:
                raise GrammarError(f"{self._source}: rules recur: {' -> '.join((*path, name))}")
            if name not in self.rules:
                raise GrammarError(f"{self._source}: rule {path[-1]!r} uses undefined {name!r}")
            if name in done:
                return
            for alternative in self.rules[name].alternatives:
                for reference in _references(alternative):
                    visit(reference, (*path, name))
            done.add(name)

        visit(self.start, ())
        if unused := sorted(set(self.rules) - done):
            raise GrammarError(f"{self._source}: rules that nothing uses: {', '.join(unused)}")


def _tidy(text: str) -> str:
    """Removes the spaces and punctuation that omitted parts and empty alternatives leave."""
    text = re.sub(r"\s+", " ", text)
    text = re.sub(r"\s+([,.?!])", r"\1", text)
    text = re.sub(r"[,.]+(?=[,.?!])", "", text)
    return _ARTICLE.sub("an ", text.lstrip(",. ").rstrip())


def _references(parts: tuple[Part, ...]) -> list[str]:
    found = []
    for part in parts:
        if isinstance(part, Reference):
            found.append(part.rule)
        elif isinstance(part, Optional):
            found.extend(_references(part.parts))
    return found


def _parse_parts(body: str, where: str) -> tuple[Part, ...]:
    stack: list[list[Part]] = [[]]
    position = 0
    for match in _TOKEN.finditer(body):
        if match.start() != position:
            break
        position = match.end()
        reference, bracket, literal = match.groups()
        if reference:
            stack[-1].append(Reference(reference))
        elif literal:
            stack[-1].append(literal)
        elif bracket == "[":
            stack.append([])
        elif len(stack) == 1:
            raise GrammarError(f"{where}: ']' without '[' in {body!r}")
        else:
            inner = tuple(stack.pop())
            stack[-1].append(Optional(inner))
    if position != len(body):
        raise GrammarError(f"{where}: cannot read {body[position:]!r}; write {{rule}} or [words]")
    if len(stack) != 1:
        raise GrammarError(f"{where}: '[' is never closed in {body!r}")
    return tuple(stack[0])
