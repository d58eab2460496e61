"""Hours of audio that one core prepares in an hour, and the time of 960 h on several cores.

Processor time of what `data.prepare` does in parallel (reading FLAC, checks, encoding, shards), and
of the rest, which one process does: listing, shuffled records, index.

    python -m benchmarks.preparing --librispeech_dir=speech --cores=16
"""

import pathlib
import tempfile
import time

from absl import flags

from data.audio import Limits
from data.encoded_shards import EncodedShards
from data.librispeech.builder import LibriSpeech
from data.librispeech.folder import FolderSource
from data.skips import SkipReport
from data.speaker_splits import NOBODY
from rnnt_qat.infra.program import run
from rnnt_qat.input_pipeline.corpus import SAMPLE_RATE_HZ

_FOLDER = flags.DEFINE_string(
    "librispeech_dir", None, "A folder in LibriSpeech's layout, of speakers.", required=True
)
_HOURS = flags.DEFINE_float("hours", 960.0, "Size of the corpus to compute the time of.")
_CORES = flags.DEFINE_integer("cores", 16, "Cores that would prepare it.", lower_bound=1)


def main() -> None:
    listed = FolderSource(pathlib.Path(_FOLDER.value)).recordings(None, SkipReport())
    with tempfile.TemporaryDirectory() as folder:
        shards = EncodedShards(pathlib.Path(folder), Limits(max_duration_s=36.0), workers=1)
        began = time.process_time()
        samples = sum(item.num_samples for item in shards.encode("train", listed))
        seconds = time.process_time() - began
        size = sum(path.stat().st_size for path in pathlib.Path(folder).iterdir())
        began = time.process_time()
        LibriSpeech(
            data_dir=f"{folder}/corpora",
            source=FolderSource(pathlib.Path(_FOLDER.value)),
            test_speakers=NOBODY,
            validation_speakers=NOBODY,
            workers=1,
        ).prepare()
        alone = time.process_time() - began - seconds
    hours = samples / SAMPLE_RATE_HZ / 3600
    rate = hours / seconds * 3600
    print(
        f"{len(listed)} recordings, {hours:.3f} h of audio in {seconds:.2f} s of a core: "
        f"{rate:,.0f} h an hour and core; {size / hours / 1e6:.0f} MB an hour of audio"
    )
    print(f"listing, records and index, in one process: {alone / hours:.1f} s an hour of audio")
    minutes = _HOURS.value / (rate * _CORES.value) * 60
    print(
        f"{_HOURS.value:g} h on {_CORES.value} cores, computed: {minutes:.0f} min of encoding, "
        f"{_HOURS.value * alone / hours / 60:.0f} min in one process"
    )


if __name__ == "__main__":
    run(main)
