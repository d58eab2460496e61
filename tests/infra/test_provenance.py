import importlib.metadata
import pathlib
import re

from rnnt_qat.infra import provenance

ROOT = pathlib.Path(__file__).parents[2]


def test_every_package_that_results_depend_on_is_named_with_its_version():
    pinned = dict(re.findall(r"^([\w.-]+)==(\S+)", (ROOT / "requirements.txt").read_text(), re.M))
    tools = {
        "absl-py", "fsspec", "hibari-tts", "hypothesis", "jaxtyping", "jiwer", "matplotlib",
        "ml_collections", "mypy", "py-nanotts", "pytest", "pytest-xdist", "ruff", "tensorboardX",
        "tensorflow-datasets", "ray", "beartype", "jinja2", "lazy_loader",
        "mlflow-skinny", "plotly", "starlette", "uvicorn", "wandb", "websockets",
    }  # fmt: skip
    packages = provenance.provenance()["packages"]
    assert packages["ethos-u-vela"] == importlib.metadata.version("ethos-u-vela")
    assert pinned.keys() - tools - packages.keys() == set()


def test_what_is_not_installed_has_no_version():
    assert provenance._version("no-such-package-is-there") is None
