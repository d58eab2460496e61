"""Flag of the folder of prepared corpora."""

from absl import flags

from rnnt_qat.infra.local_path import remote_path_message

DATA_DIR = flags.DEFINE_string(
    "data_dir", "corpora", "Where `python -m data.prepare` puts corpora, and where they are read."
)


@flags.validator("data_dir")
def _is_local(path: str) -> bool:
    if problem := remote_path_message(path):
        raise flags.ValidationError(problem)
    return True


def given_data_dir() -> str | None:
    """Returns the flag's value if it is not the default, which commands need not name."""
    return None if DATA_DIR.value == DATA_DIR.default else DATA_DIR.value
