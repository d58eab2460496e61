"""Flag of the folder of prepared corpora."""

from absl import flags

DATA_DIR = flags.DEFINE_string(
    "data_dir", "corpora", "Where `python -m data.prepare` puts corpora, and where they are read."
)
