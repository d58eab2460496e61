"""Recordings in a report: compressed audio, speakers and signal-to-noise ratios."""

import base64
import dataclasses
import io
import pathlib
from collections.abc import Callable, Sequence

import numpy as np
import soundfile

from rnnt_qat.evaluation.result import EvaluationResult
from rnnt_qat.input_pipeline.corpus import CorpusError, open_corpus
from rnnt_qat.typing import Int

_FRAME_S = 0.02
HIGHEST_SNR_DB = 60.0
"""Estimate where the quietest frames are digital silence."""


@dataclasses.dataclass(frozen=True)
class Recording:
    """Facts about an utterance's recording.

    Attributes:
      speaker: name of the speaker in the corpus.
      snr_db: estimated signal-to-noise ratio in dB.
      audio: sound file as base64, Ogg/Vorbis; empty if audio is not wanted.
    """

    speaker: str
    snr_db: float
    audio: str


def read_recordings(
    results: Sequence[EvaluationResult],
    data_dir: pathlib.Path,
    with_audio: bool,
    progress: Callable[[int, int], None],
) -> dict[tuple[str, str], Recording]:
    """Reads the recordings of results from the prepared corpora.

    Args:
      results: evaluation results of any test sets.
      data_dir: folder of the prepared corpora.
      with_audio: whether to compress and keep the audio.
      progress: called with the numbers of finished and of all recordings.

    Returns:
      Recordings by test set and id of the utterance.

    Raises:
      CorpusError: if a corpus is not prepared, or lacks an utterance.
    """
    ids: dict[str, dict[str, None]] = {}
    for result in results:
        ids.setdefault(result.test_set, {}).update((u.id, None) for u in result.utterances)
    total = sum(map(len, ids.values()))
    found: dict[tuple[str, str], Recording] = {}
    for test_set, names in ids.items():
        corpus_name, _, split = test_set.rpartition(":")
        corpus = open_corpus(data_dir, corpus_name, split)
        places = {name: place for place, name in enumerate(corpus.ids)}
        for name in names:
            if name not in places:
                raise CorpusError(
                    f"{corpus.directory}: {split} has no utterance {name!r} of the results; it was "
                    "prepared anew since they were made"
                )
            utterance = corpus[places[name]]
            found[test_set, name] = Recording(
                speaker=utterance.speaker,
                snr_db=estimate_snr_db(utterance.audio, utterance.sample_rate_hz),
                audio=_compressed(utterance.audio, utterance.sample_rate_hz) if with_audio else "",
            )
            progress(len(found), total)
    return found


def estimate_snr_db(audio: Int[np.ndarray, "N"], sample_rate_hz: int) -> float:
    """Estimates a recording's signal-to-noise ratio from the energies of its 20 ms frames.

    The quietest tenth of the frames is taken for noise and the loudest tenth for speech in noise,
    so a recording without pauses is rated too low.

    Args:
      audio: int16 samples, ``[N]``.
      sample_rate_hz: sample rate in Hz.

    Returns:
      The ratio in dB, in [0, ``HIGHEST_SNR_DB``].
    """
    size = round(_FRAME_S * sample_rate_hz)
    frames = len(audio) // size
    if not frames:
        return 0.0
    samples = audio[: frames * size].astype(np.float64).reshape(frames, size)
    power = np.sort(np.mean((samples - audio.mean()) ** 2, axis=1))
    tenth = max(frames // 10, 1)
    noise, loud = power[:tenth].mean(), power[-tenth:].mean()
    if loud <= noise:
        return 0.0
    if noise == 0.0:
        return HIGHEST_SNR_DB
    return float(np.clip(10 * np.log10((loud - noise) / noise), 0.0, HIGHEST_SNR_DB))


def _compressed(audio: np.ndarray, sample_rate_hz: int) -> str:
    """Returns a sound file that browsers play, as base64.

    Vorbis, because its encoder is ten times as fast as that of Opus, for 1.8 times the size.
    """
    file = io.BytesIO()
    soundfile.write(file, audio, sample_rate_hz, format="OGG", subtype="VORBIS")
    return base64.b64encode(file.getvalue()).decode()
