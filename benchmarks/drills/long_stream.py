"""A stream of a day: memory stays as it was, and the tokens are those of the recording in pieces.

python -m benchmarks.drills.long_stream --hours=24

A table model (greedy and beam) hears it in chunks of two seconds, a small random network in the
integers of ``ethos_u_8x8_16``, from audio on, in the same. Each is compared, by a digest of
all tokens and their frames, with another way to decode the same stream: the table's greedy search
with a plain loop over its logits, the others with the search for recordings in pieces of ten
minutes, whose tokens are held to the piece's end. With endpoints, the chunks are compared with
others of a fifth of their size.
"""

import dataclasses
import hashlib
import resource
import time
from collections.abc import Callable, Iterator, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags

from rnnt_qat.decoding.beam import BeamConfig
from rnnt_qat.decoding.chunk_driver import ChunkDriver
from rnnt_qat.decoding.endpoint import EndpointConfig
from rnnt_qat.decoding.greedy import GreedyConfig
from rnnt_qat.decoding.live_driver import SEGMENT_END, LiveDriver
from rnnt_qat.decoding.search import SearchConfig
from rnnt_qat.decoding.transducer import Transducer
from rnnt_qat.frontend.frontend import Frontend
from rnnt_qat.infra import program
from rnnt_qat.serving.freeze import freeze as freeze_for_serving
from rnnt_qat.typing import BLANK_ID, PyTree
from tests.experiment import tiny
from tests.reference.table_transducer import SymbolFrontend, TableTransducer, random_table

ROWS = (
    "table, greedy",
    "table, greedy, endpoints",
    "table, beam of 4",
    "integers, greedy",
    "integers, greedy, endpoints",
)
_HOURS = flags.DEFINE_float("hours", 24.0, "Length of the stream.")
_ROWS = flags.DEFINE_multi_enum("row", None, sorted(ROWS), "These rows alone.")

SYMBOLS = 7
FRAME_S = 0.08
CHUNK_FRAMES, SMALL_CHUNK_FRAMES = 25, 5
MIB = 1 << 20


@dataclasses.dataclass(frozen=True)
class Result:
    """What one recognizer made of the stream.

    Attributes:
      name: of the recognizer and its search.
      hours: of audio.
      tokens: emitted.
      segments: ended.
      equal: whether tokens and frames are those of the other way to decode.
      growth_mib: growth of the process' peak memory from the tenth of the stream to its end.
      last_tokens: of them those of the last tenth of the stream.
      seconds: it took, without the comparison.
    """

    name: str
    hours: float
    tokens: int
    segments: int
    equal: bool
    growth_mib: float
    last_tokens: int
    seconds: float

    @property
    def failed(self) -> bool:
        """Another token, memory that grew with the stream, or too few tokens at its end."""
        silent = self.last_tokens < self.tokens / 30  # a tenth of the stream holds about a tenth
        return not self.equal or self.growth_mib > 32 or self.tokens == 0 or silent


class _Digest:
    """A digest of tokens and frames that keeps none of them."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()
        self.tokens = self.segments = 0

    def add(self, tokens: np.ndarray, frames: np.ndarray) -> None:
        self._hash.update(np.stack([tokens, frames], axis=-1).astype("<i8").tobytes())
        self.segments += int((tokens == SEGMENT_END).sum())
        self.tokens += int((tokens != SEGMENT_END).sum())

    def value(self) -> str:
        return self._hash.hexdigest()


@dataclasses.dataclass(frozen=True)
class _Source:
    """A stream that can be heard again.

    Attributes:
      frontend: of the recognizer.
      transducer: the recognizer.
      minute: its samples by number.
      minute_frames: encoder frames of a minute.
    """

    frontend: Frontend
    transducer: Transducer
    minute: Callable[[int], np.ndarray]
    minute_frames: int


def _table(seed: int) -> _Source:
    """Symbols that repeat nowhere, through a table of random logits."""

    def minute(index: int) -> np.ndarray:
        rng = np.random.default_rng([seed, index])
        return rng.integers(0, SYMBOLS, 750).astype(np.float32)

    transducer = random_table(seed, SYMBOLS, 125, 5, blank_bias=1.0)
    return _Source(SymbolFrontend(1000 * FRAME_S), transducer, minute, 750)


def _spoken_table(seed: int) -> _Source:
    """The same stream through a table in which each symbol has its label, said once.

    The likeliest path through logits that are random alone stays where the blank is likeliest, so
    that a beam soon emits next to nothing. Here the label of a symbol is likelier than the blank
    until it is the last one that was said, and rivals differ by the random part.
    """
    source = _table(seed)
    logits = np.array(source.transducer.logits)
    symbols, contexts, labels = logits.shape
    for symbol in range(symbols):
        label = 1 + symbol % (labels - 1)
        said = np.arange(contexts) % labels == label
        logits[symbol, ~said, label] += 5.0
        logits[symbol, said, BLANK_ID] += 5.0
    transducer = dataclasses.replace(source.transducer, logits=jnp.asarray(logits))
    return dataclasses.replace(source, transducer=transducer)


def _integers(seed: int) -> _Source:
    model = tiny.recognizer()

    def minute(index: int) -> np.ndarray:
        rng = np.random.default_rng([seed, index])
        noise = rng.standard_normal(60 * 16_000, np.float32)
        loudness = np.exp(rng.normal(-4, 2, 240)).astype(np.float32).repeat(4000)
        return np.clip(loudness * noise, -1, 1)

    transducer = freeze_for_serving(model.model, model.variables)
    return _Source(model.frontend, transducer, minute, 750)


def _live(
    source: _Source,
    search: SearchConfig,
    minutes: int,
    frames: int,
    endpoint: EndpointConfig | None,
) -> tuple[_Digest, float, int]:
    """The stream in chunks of so many encoder frames.

    Returns:
      Its digest, the growth of memory in MiB, and the tokens of the last tenth.
    """
    driver = LiveDriver(source.frontend, search, frames, endpoint)
    sizes = ChunkDriver(source.frontend, search.build())
    samples = frames * sizes.encoder_frame_samples(source.transducer)

    @jax.jit
    def scan(transducer: Transducer, state: PyTree, audio: jax.Array) -> tuple[PyTree, PyTree]:
        lengths = jnp.full((1,), samples, jnp.int32)

        def step(state: PyTree, chunk: jax.Array) -> tuple[PyTree, PyTree]:
            emitted, state = driver.step(transducer, chunk[None], lengths, state)
            return state, emitted

        return jax.lax.scan(step, state, audio.reshape(-1, samples))

    digest, early, before_last = _Digest(), 0, 0
    state = jax.jit(lambda t: driver.initial_state(t, 1))(source.transducer)
    for index in range(minutes):
        state, emitted = scan(source.transducer, state, source.minute(index))
        emitted = jax.device_get(emitted)
        held = np.arange(emitted.tokens.shape[-1]) < emitted.length[..., None]
        digest.add(emitted.tokens[held], emitted.emission_frames[held])
        if index == minutes // 10:
            early = _peak_bytes()
        if index < minutes - max(1, minutes // 10):
            before_last = digest.tokens
    growth = (_peak_bytes() - early) / MIB
    rest = jax.device_get(jax.jit(driver.finish)(state))
    n = int(rest.length[0])
    digest.add(rest.tokens[0, :n], rest.emission_frames[0, :n])
    return digest, growth, digest.tokens - before_last


def _pieces(source: _Source, search: SearchConfig, minutes: int, piece: int = 10) -> _Digest:
    """The stream in pieces of ten minutes through the search for recordings."""
    frames = piece * source.minute_frames
    config = search.for_chunks(frames)
    driver = ChunkDriver(source.frontend, config.build())
    step = jax.jit(driver.step)
    state = jax.jit(lambda t: driver.initial_state(t, 1))(source.transducer)
    digest = _Digest()
    for start in range(0, minutes, piece):
        audio = np.concatenate(
            [source.minute(i) for i in range(start, min(start + piece, minutes))]
        )
        length = np.array([len(audio)], np.int32)
        state = step(source.transducer, audio[None], length, state)
        handed, held = driver.search.hand_over(state.search)
        state = dataclasses.replace(state, search=held)
        handed = jax.device_get(handed)
        n = int(handed.length[0])
        digest.add(handed.tokens[0, :n], handed.emission_frames[0, :n])
    rest = jax.device_get(driver.hypothesis(state))
    n, total = int(rest.length[0]), int(state.search.frames[0])
    digest.add(rest.tokens[0, :n], rest.emission_frames[0, :n])
    digest.add(np.array([SEGMENT_END]), np.array([total]))
    return digest


def _loop(source: _Source, max_symbols: int, minutes: int) -> _Digest:
    """Greedy search over a table's logits in plain Python."""
    table = source.transducer
    assert isinstance(table, TableTransducer)
    best = np.asarray(jnp.argmax(table.logits, axis=-1)).tolist()
    X, Y, V = table.logits.shape
    digest, x, y, frame = _Digest(), 0, 0, 0
    for index in range(minutes):
        tokens, frames = [], []
        for value in source.minute(index).astype(int).tolist():
            x = (table.multiplier * x + value) % X
            for _ in range(max_symbols):
                label = best[x][y]
                if label == 0:
                    break
                tokens.append(label)
                frames.append(frame)
                y = (y * V + label) % Y
            frame += 1
        digest.add(np.array(tokens, int), np.array(frames, int))
    digest.add(np.array([SEGMENT_END]), np.array([frame]))
    return digest


def _peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def run(hours: float = 24.0, seed: int = 0, rows: Sequence[str] = ROWS) -> Iterator[Result]:
    """Each recognizer on a stream of so many hours.

    Args:
      hours: at least a sixth of one; whole ten minutes.
      seed: of the streams.
      rows: of ``ROWS``.
    """
    minutes = max(1, round(hours * 6)) * 10
    greedy, beam = GreedyConfig(2), BeamConfig(4, 2, max_pending_tokens=64)
    for name in rows:
        search: SearchConfig = beam if "beam" in name else greedy
        table = _spoken_table if search is beam else _table
        source = (table if name.startswith("table") else _integers)(seed)
        rules = EndpointConfig() if "endpoints" in name else None
        began = time.monotonic()
        found, growth, last = _live(source, search, minutes, CHUNK_FRAMES, rules)
        seconds = time.monotonic() - began
        if rules is not None:
            other = _live(source, search, minutes, SMALL_CHUNK_FRAMES, rules)[0]
        elif name == "table, greedy":
            other = _loop(source, greedy.max_symbols_per_frame, minutes)
        else:
            other = _pieces(source, search, minutes)
        equal = found.value() == other.value()
        hours_heard = minutes / 60
        yield Result(name, hours_heard, found.tokens, found.segments, equal, growth, last, seconds)


def main() -> None:
    """Prints a table; ends with status 1 if a row failed."""
    print("| stream | hours | tokens | segments | same tokens | memory growth | seconds |")
    print("|---|---:|---:|---:|---|---:|---:|")
    failed = 0
    for row in run(_HOURS.value, rows=_ROWS.value or ROWS):
        failed += row.failed
        print(
            f"| {row.name} | {row.hours:g} | {row.tokens:,} | {row.segments:,} | "
            f"{'yes' if row.equal else 'NO'} | {row.growth_mib:.1f} MiB | {row.seconds:.0f} |",
            flush=True,
        )
    raise SystemExit(int(failed > 0))


if __name__ == "__main__":
    program.run(main)
