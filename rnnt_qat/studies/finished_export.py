"""Whether an export in a folder is finished, unchanged, and of the same inputs: by content."""

import dataclasses
import functools
import hashlib
import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from rnnt_qat.evaluation.result import EvaluationResult
from rnnt_qat.infra.durable_files import changed_files, checksum, checksums, write_text
from rnnt_qat.infra.provenance import package_versions
from rnnt_qat.input_pipeline.corpus import Corpus
from rnnt_qat.studies.chip_systems import ChipComparisonConfig

_MANIFEST = "finished.json"
_LIBRARY = pathlib.Path(__file__).parents[1]


@dataclasses.dataclass(frozen=True)
class FinishedExport:
    """An export's folder, and what an export into it depends on.

    Attributes:
      folder: output folder of the export.
      inputs: what the output depends on, as JSON.
    """

    folder: pathlib.Path
    inputs: Mapping[str, Any]

    @classmethod
    def of(
        cls,
        folder: pathlib.Path,
        models: Mapping[str, pathlib.Path],
        results: Sequence[EvaluationResult],
        replayed: Sequence[Corpus],
        config: ChipComparisonConfig,
        tools: Mapping[str, bool],
    ) -> "FinishedExport":
        """Reads the inputs.

        Args:
          folder: output folder of the export.
          models: model directories by the name of their system.
          results: errors that the report shows.
          replayed: speech that is decoded.
          config: scope of the comparison.
          tools: which of the programs outside this package are installed.
        """
        measured = json.dumps([dataclasses.asdict(result) for result in results])
        inputs = {
            "models": {name: checksums(path) for name, path in models.items()},
            "results": hashlib.sha256(measured.encode()).hexdigest(),
            "replayed": [{p.name: checksum(p) for p in corpus.files()} for corpus in replayed],
            "config": repr(config),
            "tools": dict(tools),
            "packages": package_versions(),
            "library": _library(),
        }
        return cls(folder, json.loads(json.dumps(inputs)))

    @property
    def is_there(self) -> bool:
        """Whether the folder holds the export of these inputs, with every file as written."""
        manifest = self.folder / _MANIFEST
        if not manifest.exists():
            return False
        try:
            stored = json.loads(manifest.read_text("utf-8"))
        except ValueError:  # damaged like any other file of the folder
            return False
        if not isinstance(stored, dict) or stored.get("inputs") != self.inputs:
            return False
        return not changed_files(self.folder, stored.get("sha256", {}))

    def keep(self) -> None:
        """Notes the inputs and the files; called last, so that a partial export has no manifest."""
        written = checksums(self.folder, leave_out=(_MANIFEST,))
        content = {"inputs": self.inputs, "sha256": written}
        write_text(self.folder / _MANIFEST, json.dumps(content, indent=1) + "\n")


@functools.cache
def _library() -> str:
    """Returns a checksum of this package's source: another version may export otherwise."""
    digest = hashlib.sha256()
    for path in sorted(_LIBRARY.rglob("*.py")):
        digest.update(path.relative_to(_LIBRARY).as_posix().encode() + path.read_bytes())
    return digest.hexdigest()
