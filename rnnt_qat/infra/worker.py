"""Processes that work for another one and end with it."""

import multiprocessing
import os
import signal
import threading


def end_with_parent() -> None:
    """Ends this process when the one that started it dies; Ctrl-C is left to that one.

    Otherwise the workers of a killed program wait for tasks forever: each holds the other's end of
    their queue open. It is an initializer of process pools.
    """
    parent = multiprocessing.parent_process()
    assert parent is not None  # a worker has one
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
