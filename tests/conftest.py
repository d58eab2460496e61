"""Settings of the whole test run: array annotations are checked, compiled programs are shared."""

import os
import shutil
import tempfile

import jaxtyping
import pytest
from jaxtyping import install_import_hook

from tests import array_checks

CHECKED = ("losses", "fixedpoint", "decoding", "layers")
"""Rooms whose array annotations are checked, in every call of their own tests."""

# The hook rewrites modules while they are imported, so that it must stand before the first import
# of the package.
install_import_hook(
    [f"rnnt_qat.{room}" for room in CHECKED],
    f"{array_checks.__name__}.{array_checks.check.__name__}",
)


@pytest.fixture(autouse=True, scope="session")
def no_array_annotations():
    """Leaves the fixtures of whole modules and of the run unchecked, whatever test came before."""
    jaxtyping.config.update("jaxtyping_disable", True)


@pytest.fixture(autouse=True)
def array_annotations(request):
    """Checks annotations in the rooms' own tests; other tests do not pay for the checks."""
    room = request.path.relative_to(request.config.rootpath / "tests").parts[0]
    is_checked = room in CHECKED and not request.node.get_closest_marker("unchecked_annotations")
    jaxtyping.config.update("jaxtyping_disable", not is_checked)


# The processes of one run compile the same programs. The variable is set here, and not by an
# option of JAX, because xdist's workers and the programs that tests start inherit it.
_CACHE = "JAX_COMPILATION_CACHE_DIR"
_own_cache = None if _CACHE in os.environ else tempfile.mkdtemp(prefix="rnnt_qat_compiled_")
if _own_cache is not None:
    os.environ[_CACHE] = _own_cache
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.3")


def pytest_unconfigure():
    if _own_cache is not None:
        shutil.rmtree(_own_cache, ignore_errors=True)
