"""Writes what every shipped config resolves to: ``python -m tests.golden.make_configs``.

Run it when a config changes on purpose; the difference in ``tests/golden/configs`` is then part
of the change, for its reader to see.
"""

import json
import pathlib

from rnnt_qat.infra.config import to_json
from tests.test_configs import CASES, experiment

FOLDER = pathlib.Path(__file__).parent / "configs"


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    for path in FOLDER.glob("*.json"):
        path.unlink()
    for name, variant in CASES:
        text = json.dumps(to_json(experiment(name, variant)), indent=1)
        (FOLDER / f"{name}{'-' if variant else ''}{variant}.json").write_text(text + "\n")


if __name__ == "__main__":
    main()
