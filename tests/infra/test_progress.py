import io

import pytest

from rnnt_qat.infra.console import Console
from rnnt_qat.infra.progress import Progress


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def _fail_after_a_minute(clock):
    clock.now = 60.0
    raise ZeroDivisionError


@pytest.fixture
def shown():
    stream, clock = io.StringIO(), Clock()
    return stream, clock, Console(stream, clock=clock)


def test_a_short_step_is_silent(shown):
    stream, clock, console = shown
    with Progress("decoding", console, clock=clock) as progress:
        clock.now = 4.0
        progress.at(1, 2)
    assert stream.getvalue() == ""


def test_a_long_step_says_how_far_and_how_long(shown):
    stream, clock, console = shown
    with Progress("decoding", console, clock=clock) as progress:
        clock.now = 20.0
        progress.at(10, 100)  # includes a compilation
        clock.now = 30.0  # lines of a log are 15 s apart
        progress.at(15, 100)
        clock.now = 40.0
        progress.at(20, 100)
        clock.now = 200.0
        progress.at(100, 100)
    assert stream.getvalue().splitlines() == [
        "decoding: 10 of 100 (10%)",
        "decoding: 20 of 100 (20%), 2 min 40 s left",
        "decoding: 100 of 100 (100%), 0 s left",
        "decoding: 3 min 20 s",
    ]


def test_a_long_part_is_not_silence(shown):
    stream, clock, console = shown
    with Progress("decoding", console, unit="batches", clock=clock) as progress:
        clock.now = 3.0
        progress.at(1, 4)
        progress.tick()
        clock.now = 60.0
        progress.tick()
        clock.now = 61.0
        progress.tick()  # the console's lines have a distance
    assert stream.getvalue().splitlines() == [
        "decoding: 1 of 4 batches (25%), 1 min 0 s so far",
        "decoding: 1 min 1 s",
    ]


def test_programs_ahead_are_estimated_from_those_compiled(shown):
    stream, clock, console = shown
    with Progress("decoding", console, unit="batches", clock=clock) as progress:
        for seconds, done, programs_left in ((30, 0, 1), (2, 1, 1), (2, 2, 1), (32, 3, 0)):
            clock.now += seconds
            progress.at(done, 10, programs_left)
        clock.now += 20
        progress.at(10, 10)
    assert stream.getvalue().splitlines() == [
        "decoding: 1 of 10 batches (10%), 46 s left",  # 8 batches of 2 s, a program of 30 s
        "decoding: 3 of 10 batches (30%), 14 s left",
        "decoding: 10 of 10 batches (100%), 0 s left",
        "decoding: 1 min 26 s",
    ]


def test_what_is_ahead_is_said_while_the_first_program_compiles(shown):
    stream, clock, console = shown
    with Progress("decoding", console, unit="batches", clock=clock) as progress:
        progress.at(0, 4, 2)
        clock.now = 20.0
        progress.tick()
        progress.at(0, 4, 1)
        clock.now = 40.0
        progress.at(2, 4, 1)
        clock.now = 55.0
        progress.tick()
    assert stream.getvalue().splitlines() == [
        "decoding: 0 of 4 batches (0%), 2 programs to compile, 20 s so far",
        "decoding: 2 of 4 batches (50%), 30 s left",  # a batch of 10 s, a program of 20 s
        "decoding: 2 of 4 batches (50%), 1 program to compile, 55 s so far",
        "decoding: 55 s",
    ]


def test_an_unknown_number_of_parts_is_counted(shown):
    stream, clock, console = shown
    with Progress("listing", console, unit="files", clock=clock) as progress:
        clock.now = 20.0
        progress.at(1234, None)
    assert stream.getvalue().splitlines() == ["listing: 1,234 files in 20 s", "listing: 20 s"]


def test_parts_are_counted_as_they_are_taken(shown):
    stream, clock, console = shown
    with Progress("reading", console, clock=clock) as progress:
        for part in progress.each("abc", 3):
            clock.now += 10.0
            assert part in "abc"
    assert stream.getvalue().splitlines()[-2:] == [
        "reading: 3 of 3 (100%), 0 s left",
        "reading: 30 s",
    ]


def test_a_step_without_parts_shows_its_time(shown):
    stream, clock, console = shown
    with Progress("compiling", console, clock=clock) as progress:
        clock.now = 20.0
        for _ in range(50):
            if progress._ended.wait(0.1) or stream.getvalue():
                break
    assert stream.getvalue().splitlines() == ["compiling: 20 s so far", "compiling: 20 s"]


def test_a_failed_step_leaves_no_line(shown):
    stream, clock, console = shown
    with pytest.raises(ZeroDivisionError), Progress("decoding", console, clock=clock):
        _fail_after_a_minute(clock)
    assert "1 min 0 s\n" not in stream.getvalue()
