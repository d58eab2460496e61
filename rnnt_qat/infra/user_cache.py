"""Folder of this user's files that can be made again at any time."""

import os
import pathlib


def user_cache(kind: str) -> pathlib.Path:
    """Returns a folder of ``XDG_CACHE_HOME`` (``~/.cache``), which is not created.

    Args:
      kind: what the folder holds, e.g. ``programs``.
    """
    home = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
    return pathlib.Path(home) / "rnnt_qat" / kind
