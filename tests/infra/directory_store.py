"""An object store in a folder, ``dirstore://FOLDER``, that several processes share.

As in S3 and GCS, an object appears whole or not at all, and there are no empty folders.
``DIRSTORE_SECONDS`` is the time that each object takes to be written.
"""

import os
import pathlib
import time
import uuid

import fsspec
from fsspec.implementations.local import LocalFileSystem


class DirectoryStore(LocalFileSystem):
    protocol = "dirstore"

    def __init__(self, use_listings_cache=False, **options):
        super().__init__(**options)

    @classmethod
    def _strip_protocol(cls, path):
        return super()._strip_protocol(str(path).removeprefix("dirstore://"))

    def pipe_file(self, path, value, mode="overwrite", **options):
        time.sleep(float(os.environ.get("DIRSTORE_SECONDS", 0)))
        target = pathlib.Path(self._strip_protocol(path))
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = target.with_name(f".{uuid.uuid4().hex}")
        partial.write_bytes(value)
        try:
            (os.link if mode == "create" else os.replace)(partial, target)
        finally:
            partial.unlink(missing_ok=True)

    def put_file(self, lpath, rpath, **options):
        self.pipe_file(rpath, pathlib.Path(lpath).read_bytes())


fsspec.register_implementation("dirstore", DirectoryStore, clobber=True)
