import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnnt_qat.quant.observers import (
    MaxObserver,
    MovingAverageObserver,
    MseObserver,
    PercentileObserver,
)

RNG = np.random.default_rng(0)
OBSERVERS = [MaxObserver(), MovingAverageObserver(), PercentileObserver(), MseObserver()]


def seen(observer, *batches):
    state, observe = observer.initial_state(), jax.jit(observer.observe)
    for x in batches:
        state = observe(state, jnp.asarray(x, jnp.float32), jnp.ones(x.shape[:1], bool))
    return float(observer.max_abs(state))


@pytest.mark.parametrize("observer", OBSERVERS, ids=lambda o: type(o).__name__)
def test_padding_has_no_say_and_nothing_seen_is_zero(observer):
    state = observer.initial_state()
    assert observer.max_abs(state) == 0
    x = jnp.asarray([[1.0, -2.0], [np.nan, 1e9]])
    state = observer.observe(state, x, jnp.asarray([True, False]))
    assert 0.5 < observer.max_abs(state) < 2.1


def test_max_and_moving_average():
    batches = [np.array([[1.0, -3.0]]), np.array([[2.0, 0.5]]), np.array([[-1.0, 0.0]])]
    assert seen(MaxObserver(), *batches) == 3.0
    expected = (3.0 * 0.5**2 + 2.0 * 0.5 + 1.0) / (0.5**2 + 0.5 + 1)
    assert seen(MovingAverageObserver(decay=0.5), *batches) == pytest.approx(expected)


@pytest.mark.parametrize("percent", [50.0, 99.0, 100.0])
def test_percentile(percent):
    x = RNG.normal(0, 0.3, (40, 500))
    expected = np.percentile(np.abs(x), percent)
    assert seen(PercentileObserver(percent=percent), x[:20], x[20:]) == pytest.approx(
        expected, rel=0.05
    )


@pytest.mark.parametrize("bits", [3, 4, 8])
def test_least_squared_error(bits):
    x = np.concatenate([RNG.normal(0, 0.3, (1, 20_000)), [[9.0] + [0.0] * 19_999]])

    def error(max_abs):
        bound = 2 ** (bits - 1) - 1
        scale = max_abs / bound
        return ((np.clip(np.round(x / scale), -bound, bound) * scale - x) ** 2).mean()

    best = min(error(r) for r in np.geomspace(0.05, 10, 300))
    assert error(seen(MseObserver(bits=bits), x)) <= 1.1 * best


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: MovingAverageObserver(decay=1.0), r"decay=1.0"),
        (lambda: PercentileObserver(percent=0.0), r"percent=0.0"),
        (lambda: MseObserver(bits=32), r"bits=32"),
    ],
)
def test_impossible_settings_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("observer", [PercentileObserver(percent=99.9), MseObserver(bits=4)])
def test_counts_beyond_what_float32_holds(observer):
    """A bin of 2^24 values still counts one by one."""
    observe = jax.jit(observer.observe)
    state = observe(observer.initial_state(), jnp.asarray([0.5]), jnp.bool_(True))
    state = state._replace(low=state.low << 24)
    for _ in range(3):
        state = observe(state, jnp.asarray([0.5, 8.0]), jnp.bool_(True))
    count = np.asarray(state.high, np.int64) * 2**32 + np.asarray(state.low, np.int64)
    assert sorted(count[count > 0]) == [3, 2**24 + 3]
    assert float(observer.max_abs(state)) < 0.6


def test_counts_beyond_32_bits():
    observer = PercentileObserver(percent=99.9)
    state = observer.observe(observer.initial_state(), jnp.asarray([0.5]), jnp.bool_(True))
    state = state._replace(high=state.high.at[state.low.argmax()].set(5))
    state = observer.observe(state, jnp.full(2**10, 8.0), jnp.bool_(True))
    assert float(observer.max_abs(state)) == 0.5


def test_batches_of_padding_alone_do_not_pull_an_average_down():
    observer = MovingAverageObserver(decay=0.5)
    state = observer.initial_state()
    for valid in (True, False, False, True):
        state = observer.observe(state, jnp.asarray([[3.0, -1.0]]), jnp.asarray([valid]))
    assert float(observer.max_abs(state)) == 3.0
