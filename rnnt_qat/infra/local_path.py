"""Paths that must be folders or files of this machine's file system."""

import re

_SCHEME = re.compile(r"([a-zA-Z][a-zA-Z0-9+.-]*)://(.*)")


def remote_path_message(path: str) -> str | None:
    """Returns why a path cannot be used and what to do, or None if it is one of this machine.

    Corpora, and what most programs write, are renamed, locked and mapped into memory, which object
    stores do not have; ``pathlib`` would take ``gs://bucket/run`` for a folder ``gs:`` beneath the
    current one. ``experiment.remote_paths`` has those that programs take from a store.

    Args:
      path: value given by the user.
    """
    match = _SCHEME.fullmatch(path)
    if match is None:
        return None
    scheme, rest = match.groups()
    if scheme.lower() == "file":
        return f"give the folder itself: {rest}"
    return (
        f"files of {scheme}:// are not written or read directly; mount the store as a folder "
        "(gcsfuse, mountpoint-s3, NFS), or copy to and from one, and give that folder"
    )
