import io

import pytest

from rnnt_qat.infra.console import Console, format_duration


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_log_gets_a_line_now_and_then():
    stream, now = io.StringIO(), [0.0]
    console = Console(stream, period_seconds=10, clock=lambda: now[0])
    for second in range(25):
        now[0] = second
        console.progress(f"at {second}")
    console.say("done")
    assert stream.getvalue().splitlines() == ["at 0", "at 10", "at 20", "done"]


def test_a_terminal_gets_one_line_rewritten():
    stream, now = Terminal(), [0.0]
    console = Console(stream, clock=lambda: now[0])
    for second in range(3):
        now[0] = second
        console.progress(f"at {second}")
    console.say("done")
    assert stream.getvalue().count("\n") == 2
    assert stream.getvalue().endswith("\r\x1b[2Kat 2\ndone\n")


def test_a_line_is_cut_to_the_width_of_its_terminal(monkeypatch):
    monkeypatch.setenv("COLUMNS", "20")
    stream = Terminal()
    console = Console(stream, period_seconds=0.0)
    console.progress("x" * 19, force=True)
    console.progress("x" * 20, force=True)
    assert stream.getvalue().split("\r\x1b[2K")[1:] == ["x" * 19, "x" * 16 + "..."]
    assert console.columns == 20
    assert Console(io.StringIO()).columns is None


@pytest.mark.parametrize(
    ("seconds", "text"), [(59.4, "59 s"), (725, "12 min 5 s"), (11_040, "3 h 4 min")]
)
def test_durations(seconds, text):
    assert format_duration(seconds) == text
