"""How the shapes and dtypes of calls are compared with their annotations while the tests run."""

from collections.abc import Callable

from beartype import BeartypeConf, beartype

# Python's own rule (PEP 484): an int is accepted where a float is asked for.
_CHECK = beartype(conf=BeartypeConf(is_pep484_tower=True))


def check(function: Callable) -> Callable:
    """Checks the arguments and the result of a function, but not those of a constructor.

    JAX builds pytrees with whatever it maps over them: NumPy arrays on the host, shapes, shardings.
    """
    return function if function.__name__ == "__init__" else _CHECK(function)
