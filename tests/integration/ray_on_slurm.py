"""Run by ``test_slurm.py`` on the first node of a job, as a sweep is: tasks on its Ray cluster."""

import dataclasses
import json
import os
import pathlib
import socket
import sys
import time

from rnnt_qat.infra.console import Console
from rnnt_qat.studies.ray_engine import RayEngine


@dataclasses.dataclass(frozen=True)
class Square:
    """Notes a square, and where it was computed."""

    folder: pathlib.Path
    number: int
    is_done: bool = False

    @property
    def name(self) -> str:
        return f"square of {self.number}"

    def __call__(self, console: Console) -> None:
        time.sleep(2)  # so that one node does not do all of them
        result = {
            "square": self.number**2,
            "node": socket.gethostname(),
            "accelerators": os.environ["CUDA_VISIBLE_DEVICES"],
        }
        (self.folder / f"square_{self.number}.json").write_text(json.dumps(result))


def results(folder: pathlib.Path) -> list[dict]:
    """Returns the notes of all tasks, in order."""
    return [json.loads(path.read_text()) for path in sorted(folder.glob("square_*.json"))]


def main() -> None:
    folder = pathlib.Path(sys.argv[1])
    engine = RayEngine(folder / "logs", address="auto", cpus=16, gpus=4)
    engine.run([Square(folder, number) for number in range(4)], Console())


if __name__ == "__main__":
    main()
