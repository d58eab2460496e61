"""Random integer graphs with extreme but legal scales, in every runtime and in this project's code.

Operators, single layers and whole recognizers of a few units are drawn from a seed: scales from
2^-45 to 2^12, biases up to the accumulator's bound, weights that are all zero or all full, inputs
at their ends. Each graph runs in LiteRT's reference kernels and in TFLM and is compared, integer by
integer, with the NumPy player under that runtime's arithmetic and with the JAX operators that
training and serving share. What the artefact refuses (``artefact.limits``) is drawn again.

python -m benchmarks.drills.integers --cases=2400 --seed=0
"""

import argparse
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from benchmarks.drills.integer_comparison import DifferentIntegersError
from benchmarks.drills.integer_draws import RefusedError, Rng
from benchmarks.drills.integer_lstms import lstm_8x8_16, lstm_16x8
from benchmarks.drills.integer_operators import add, dense, mul, requantize, tanh_int8
from benchmarks.drills.integer_recognizers import recognizer


@dataclass(frozen=True)
class Count:
    """What became of the graphs of one kind.

    Attributes:
      kind: operator, layer or chip.
      cases: graphs that were compared.
      refused: draws that were refused by name before, and drawn again.
      failures: graphs with a difference, or that raised anything.
      first_failure: its case and message; empty if there is none.
    """

    kind: str
    cases: int
    refused: int
    failures: int
    first_failure: str


def run(cases: int, seed: int, kinds: Sequence[str] = ()) -> list[Count]:
    """Compares that many graphs.

    Args:
      cases: graphs in all, shared out over the kinds.
      seed: case n of a kind is drawn from (seed, kind, n) alone.
      kinds: of ``KINDS``; all if none are named.
    """
    names = list(kinds or KINDS)
    shares = [cases // len(names) + (n < cases % len(names)) for n in range(len(names))]
    return [_run_kind(name, share, seed) for name, share in zip(names, shares, strict=True)]


def _run_kind(kind: str, cases: int, seed: int) -> Count:
    tally: Counter[str] = Counter()
    failures, first = 0, ""
    for case in range(cases):
        rng = np.random.default_rng([seed, list(KINDS).index(kind), case])
        try:
            _draw_until_legal(KINDS[kind], rng, tally)
        except Exception as error:  # whatever a graph raises is a finding
            failures += 1
            first = first or f"case {case}: {type(error).__name__}: {error}"
    return Count(kind, cases, tally["refused"], failures, first)


def _draw_until_legal(check: Callable[[Rng], None], rng: Rng, tally: Counter[str]) -> None:
    for _ in range(1000):
        try:
            return check(rng)
        except RefusedError:
            tally["refused"] += 1
    raise RuntimeError("1000 draws in a row were refused")


def recognizer_on(rng: Rng, chip: str) -> None:
    """A whole recognizer: training, serving and player in agreement with both runtimes."""
    try:
        found = recognizer(rng, chip)
    except ValueError as error:
        raise RefusedError(str(error)) from error
    for agreement in found:
        if not agreement.exact:
            raise DifferentIntegersError(f"player and {agreement.decoder}: {agreement}")


KINDS: dict[str, Callable[[Rng], None]] = {
    "FULLY_CONNECTED int8": lambda rng: dense(rng, np.int8),
    "FULLY_CONNECTED 16x8": lambda rng: dense(rng, np.int16),
    "ADD int8": lambda rng: add(rng, np.int8),
    "ADD int16": lambda rng: add(rng, np.int16),
    "MUL int8": lambda rng: mul(rng, np.int8),
    "MUL int16": lambda rng: mul(rng, np.int16),
    "QUANTIZE int8": lambda rng: requantize(rng, np.int8),
    "QUANTIZE int16": lambda rng: requantize(rng, np.int16),
    "TANH int8": tanh_int8,
    "LSTM 8x8_16": lstm_8x8_16,
    "LSTM 16x8": lstm_16x8,
    "recognizer ethos_u_8x8_16": lambda rng: recognizer_on(rng, "ethos_u_8x8_16"),
    "recognizer ethos_u_16x8": lambda rng: recognizer_on(rng, "ethos_u_16x8"),
}


def main() -> int:
    """Prints a line a kind; 1 if anything failed."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--cases", type=int, default=2400)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kind", action="append", default=[], choices=list(KINDS))
    args = parser.parse_args()
    started, failures, cases = time.monotonic(), 0, 0
    print("| graphs | compared | refused draws | failures |\n|---|---:|---:|---:|")
    for kind in args.kind or KINDS:
        share = args.cases // len(args.kind or KINDS)
        count = replace(run(share, args.seed, [kind])[0])
        print(f"| {count.kind} | {count.cases} | {count.refused} | {count.failures} |", flush=True)
        if count.first_failure:
            print(f"  {count.first_failure}", file=sys.stderr)
        failures, cases = failures + count.failures, cases + count.cases
    print(f"| all, seed {args.seed} | {cases} | | {failures} |")
    print(f"{time.monotonic() - started:.0f} s", file=sys.stderr)
    return int(bool(failures))


if __name__ == "__main__":
    sys.exit(main())
