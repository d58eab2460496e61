"""Transcribes recordings from an artefact alone: the integers of the chip, played in NumPy.

python -m experiments.play --artefact=workdir/a/export/AAT_W8_8x8_16/artefact --audio=hello.wav
"""

import pathlib

from absl import flags

from data.audio import decode_audio
from data.skips import SkipError
from experiments.flags import run
from rnnt_qat.artefact import artefact as artefacts
from rnnt_qat.artefact.player import recognize
from rnnt_qat.infra.errors import UserError
from rnnt_qat.studies.deployment import features_of, frontend_of

_ARTEFACT = flags.DEFINE_string("artefact", None, "Folder that export wrote.", required=True)
_AUDIO = flags.DEFINE_list("audio", None, "Sound files.", required=True)
_CHUNK = flags.DEFINE_integer("chunk", 4, "Encoder frames that are decoded at once.", lower_bound=1)


class AudioError(UserError):
    """A file that holds no audio."""


def main() -> None:
    """One line a recording: its name, a tab, its text."""
    artefact = artefacts.load(pathlib.Path(_ARTEFACT.value))
    frontend = frontend_of(artefact)
    rate_hz = frontend.config.log_mel.sample_rate_hz
    for name in _AUDIO.value:
        try:
            audio = decode_audio(pathlib.Path(name), rate_hz)
        except SkipError as error:
            raise AudioError(f"--audio={name}: {error}") from error
        frames = _CHUNK.value * artefact.model.encoder.time_reduction
        text, _ = recognize(artefact, features_of(frontend, audio), frames)
        print(f"{name}\t{text}", flush=True)


if __name__ == "__main__":
    run(main)
