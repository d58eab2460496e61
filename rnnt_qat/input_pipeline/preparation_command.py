"""The command that prepares a corpus, from the corpus' name."""

import re
from pathlib import Path

_CONFIG_FLAG = {"phrases": "phrases_name", "uqm_voices": "uqm_config"}
"""Flags of ``data.prepare`` that take the name of a config as it is."""

_LIBRISPEECH_RELEASES = ("clean_100", "full_960")

_SYNTHETIC = r"(?P<texts>[a-z]+)_(?P<hours>[\d.]+)h(_(?P<hash>[0-9a-f]{8}))?"
"""Names of configs of synthetic speech; the hash is of all fields, where others are changed."""


def preparation_command(name: str, data_dir: str | Path) -> str:
    """Returns the command that prepares a corpus, but for the folders of its recordings.

    Where options cannot be told from the name, a comment behind the command says so.

    Args:
      name: ``corpus`` or ``corpus/config``, as ``open_corpus`` takes them.
      data_dir: folder of prepared corpora.
    """
    corpus, config = (*name.split("/"), "")[:2]
    command = f"python -m data.prepare --corpora={corpus} --data_dir={data_dir}"
    command += "".join(f" --{flag}={value}" for flag, value in _flags(corpus, config).items())
    parts = re.fullmatch(_SYNTHETIC, config) if corpus == "synthetic_speech" else None
    if parts and parts["hash"]:
        command += f"  # and the other options of this config, of which {parts['hash']} is the hash"
    return command


def _flags(corpus: str, config: str) -> dict[str, str]:
    """Returns the flags without which another config of the corpus would be prepared."""
    if corpus == "synthetic_speech" and (parts := re.fullmatch(_SYNTHETIC, config)):
        return {"synthetic_texts": parts["texts"], "synthetic_hours": parts["hours"]}
    if corpus == "librispeech" and config in _LIBRISPEECH_RELEASES:
        return {"librispeech_config": config}
    if corpus == "librispeech" and config not in ("", "by_speaker"):
        return {"librispeech_name": config}
    return {_CONFIG_FLAG[corpus]: config} if config and corpus in _CONFIG_FLAG else {}
