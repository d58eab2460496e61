"""What is a user's error, and what a fault of the program."""

import errno
import logging
import os
import sys
import threading
import types

import pytest
from absl import flags

from rnnt_qat.infra.config import ConfigError
from rnnt_qat.infra.errors import UserError
from rnnt_qat.infra.program import (
    _is_a_fault,
    _PlainFormatter,
    _thread_failed,
    _unraisable,
    explain,
)


class XlaRuntimeError(RuntimeError):
    """Has the name by which JAX's errors are known."""


def of_the_system(number, path="a/b"):
    return OSError(number, os.strerror(number), path)


def raised_from(cause):
    try:
        try:
            raise cause
        except Exception as error:
            raise ValueError("could not write") from error
    except ValueError as error:
        return error


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (flags.ValidationError("give --workdir"), 2, "give --workdir"),
        (
            flags.Error("flag --n=a: invalid literal for int() with base 10: 'a'"),
            2,
            "--n=a: this is",
        ),
        (flags.Error("flag --x=a: could not convert string to float: 'a'"), 2, "is not a number"),
        (flags.Error("flag --n=0: 0 is not a positive integer"), 2, "--n=0: give a positive"),
        (flags.Error("flag --k=c: value should be one of <a|b>"), 2, "--k=c: choose one of a|b"),
        (ConfigError("seed: abc"), 2, "ConfigError: seed: abc"),
        (UserError("a/b is damaged"), 1, "UserError: a/b is damaged"),
        (KeyboardInterrupt(), 130, "stopped by Ctrl-C"),
        (of_the_system(errno.ENOSPC), 1, "a/b: the disk is full"),
        (of_the_system(errno.EACCES), 1, "a/b: permission denied"),
        (of_the_system(errno.EROFS), 1, "a/b: the file system is read-only"),
        (of_the_system(errno.ENOTDIR), 1, "a/b: a part of the path is a file"),
        (of_the_system(errno.ENOENT), 1, "a/b: there is no such file"),
        (raised_from(of_the_system(errno.ENOSPC)), 1, "a/b: the disk is full"),
        (ValueError("RESOURCE_EXHAUSTED: No space left on device [28]"), 1, "the disk is full"),
        (XlaRuntimeError("RESOURCE_EXHAUSTED: 9 GB"), 1, "lower pipeline.batch_seconds"),
        (XlaRuntimeError("Gloo all-reduce failed: closed"), 1, "another process of the job"),
    ],
)
def test_what_the_user_can_mend_is_said(error, code, words):
    message, exit_code = explain(error)
    assert exit_code == code
    assert words in message


@pytest.mark.parametrize(
    "error",
    [
        ValueError("shapes"),
        AssertionError(),
        FileNotFoundError("no path"),
        XlaRuntimeError("INTERNAL: a fault"),
        ConnectionResetError(errno.ECONNRESET, "reset"),
    ],
)
def test_faults_of_the_program_are_not_explained_away(error):
    assert explain(error) is None


@pytest.mark.parametrize(
    ("error", "traceback"),
    [(of_the_system(errno.EFBIG), False), (AssertionError("a fault"), True)],
)
def test_a_users_error_in_a_thread_is_one_message(error, traceback, monkeypatch, capsys):
    """Checkpoints are written by a thread, whose error the main thread raises again."""

    def fail():
        raise error

    monkeypatch.setattr(threading, "excepthook", _thread_failed)
    thread = threading.Thread(target=fail)
    thread.start()
    thread.join()
    said = capsys.readouterr().err
    assert ("Traceback" in said) == traceback
    assert ("grows past the size that is allowed" in said) != traceback


@pytest.mark.parametrize(
    ("error", "kept"),
    [
        (RuntimeError("Event loop is closed"), False),
        (of_the_system(errno.ENOSPC), False),
        (RuntimeError("a fault"), True),
        (None, True),
    ],
)
def test_what_the_main_thread_tells_is_not_logged_as_well(error, kept, monkeypatch):
    info = error and (type(error), error, None)
    record = logging.LogRecord("absl", logging.ERROR, "x", 1, "failed to commit", (), info)
    assert _is_a_fault(record) == kept
    if isinstance(error, RuntimeError):
        told = []
        monkeypatch.setattr(
            sys, "__unraisablehook__", lambda failure: told.append(failure.exc_value)
        )
        _unraisable(types.SimpleNamespace(exc_value=error))
        assert told == ([] if not kept else [error])


def test_warnings_of_libraries_that_say_nothing_are_not_logged():
    def kept(message):
        return _is_a_fault(logging.LogRecord("absl", logging.WARNING, "", 1, message, ("x",), None))

    assert not kept("Metadata file does not exist: %s")
    assert not kept("Using custom data configuration: %s")
    assert kept("Training data: %s")


def test_log_records_read_like_messages():
    record = logging.LogRecord("absl", logging.WARNING, "x", 1, "skipped %d of %d", (3, 64), None)
    assert _PlainFormatter().format(record) == "warning: skipped 3 of 64"
