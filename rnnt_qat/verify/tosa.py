"""Arm's reference model of the Tensor Operator Set Architecture, as a runtime of exported graphs.

Arm's own converter lowers a `.tflite` graph, and the reference model of the TOSA specification runs
it. Both programs have an environment of their own, because they pin other versions of NumPy and
flatbuffers than LiteRT needs: ``make .venvs/tosa/installed`` creates it.
"""

import os
import pathlib
import subprocess
import tempfile

import numpy as np
from ai_edge_litert import schema_py_generated as schema

TOOLS_VARIABLE = "TOSA_TOOLS"
"""Environment variable that names the folder of the programs."""
DEFAULT_TOOLS = pathlib.Path(__file__).parents[2] / ".venvs/tosa/bin"
_CONVERTER, _OPTIMIZER, _MODEL = "tosa-converter-for-tflite", "tosa-opt", "tosa_reference_model"


class TosaError(RuntimeError):
    """The programs are missing or reject a graph."""


def tosa_tools() -> pathlib.Path:
    """Returns the folder of the three programs.

    Raises:
      TosaError: a program is missing.
    """
    folder = pathlib.Path(os.environ.get(TOOLS_VARIABLE, DEFAULT_TOOLS)).absolute()
    missing = [name for name in (_CONVERTER, _OPTIMIZER, _MODEL) if not (folder / name).exists()]
    if missing:
        raise TosaError(
            f"{folder} lacks {', '.join(missing)}: run 'make .venvs/tosa/installed', or name the "
            f"folder of the programs in {TOOLS_VARIABLE}"
        )
    return folder


class TosaReference:
    """A graph in the reference model; every call starts a process, so inputs should be batched.

    Implements ``runtimes.Runtime`` for graphs without internal states.

    Args:
      model: a `.tflite` file's bytes.
      tools: folder of the programs; ``tosa_tools()`` by default.

    Attributes:
      lowered: the lowered graph as MLIR text.
      program: the lowered graph as a TOSA flatbuffer.

    Raises:
      TosaError: the converter rejects the graph (for example LiteRT's fused LSTM); includes its
        message.
    """

    def __init__(self, model: bytes, tools: pathlib.Path | None = None) -> None:
        self._tools = tosa_tools() if tools is None else tools
        graph = schema.Model.GetRootAs(model, 0).Subgraphs(0)
        self._inputs, self._outputs = graph.InputsLength(), graph.OutputsLength()
        with tempfile.TemporaryDirectory() as name:
            folder = pathlib.Path(name)
            (folder / "graph.tflite").write_bytes(model)
            self._call(folder, _CONVERTER, "graph.tflite", "--text", "-o", "graph.mlir")
            self._call(
                folder,
                _OPTIMIZER,
                "graph.mlir",
                "--tosa-serialize",
                "--tosa-flatbuffer-filename=graph.tosa",
                "-o",
                os.devnull,
            )
            self.lowered = (folder / "graph.mlir").read_text()
            self.program = (folder / "graph.tosa").read_bytes()

    def reset(self) -> None:
        """Does nothing: the graphs have no state."""

    def run(self, *inputs: np.ndarray) -> tuple[np.ndarray, ...]:
        """Runs the graph once: its inputs in order, to its outputs in order."""
        if len(inputs) != self._inputs:
            raise ValueError(f"the graph has {self._inputs} inputs, {len(inputs)} were given")
        with tempfile.TemporaryDirectory() as name:
            folder = pathlib.Path(name)
            (folder / "graph.tosa").write_bytes(self.program)
            for index, array in enumerate(inputs):
                np.save(folder / f"in{index}.npy", array)
            results = [f"out{index}.npy" for index in range(self._outputs)]
            self._call(
                folder,
                _MODEL,
                f"--flatbuffer_dir={folder}",
                "--tosa_file=graph.tosa",
                f"--ifm_name={_names('Input', self._inputs)}",
                f"--ifm_file={','.join(f'in{index}.npy' for index in range(self._inputs))}",
                f"--ofm_name={_names('Output', self._outputs)}",
                f"--ofm_file={','.join(results)}",
            )
            return tuple(np.load(folder / result) for result in results)

    def _call(self, folder: pathlib.Path, program: str, *arguments: str) -> None:
        command = [str(self._tools / program), *arguments]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            words = (done.stderr or done.stdout).strip().splitlines()[:5]
            raise TosaError(f"{program} ends with {done.returncode}: {' / '.join(words)}")


def _names(kind: str, count: int) -> str:
    return ",".join(f"Tosa{kind}_{index}" for index in range(count))
