"""Packs an experiment to train on a machine that reaches no network: code, speech and wheels.

python -m experiments.pack --config=experiments/configs/assistant.py --variants=gpu_short,gpu \
    --wheels=wheels --output=assistant.tar.xz          # wheels: sh benchmarks/pack_wheels.sh wheels

Audio is recoded as Opus at the bit rates of the flags. Test sets go as transcripts alone unless
they get a bit rate: training leaves out their sentences, and the model that comes back is tested on
the original recordings. Unpacked, the folder needs no installation: the wheels' packages lie in
``site``. The end of the output is the command for the other machine.
"""

import pathlib
import shutil
import tarfile
import tempfile
import zipfile

from absl import flags

from data.packing import WIDE_BIT_RATE, pack_split
from experiments.flags import DATA_DIR, define_variants, run, variants_of
from rnnt_qat.experiment.config import ExperimentConfig, Split
from rnnt_qat.infra.console import Console
from rnnt_qat.infra.errors import UserError
from rnnt_qat.infra.progress import Progress
from rnnt_qat.input_pipeline.corpus import open_corpus

_CONFIG, _VARIANTS = define_variants()
_OUTPUT = flags.DEFINE_string("output", None, "The archive, NAME.tar.xz.", required=True)
_TRAIN = flags.DEFINE_integer(
    "train_bit_rate",
    WIDE_BIT_RATE,
    "Bits per second of training speech; below the default nothing above 4 kHz is left.",
    lower_bound=6000,
)
_VALIDATION = flags.DEFINE_integer(
    "validation_bit_rate", 16000, "Bits per second of validation sets.", lower_bound=6000
)
_TEST = flags.DEFINE_integer(
    "test_bit_rate", 0, "Bits per second of test sets; 0: their transcripts alone.", lower_bound=0
)
_WHEELS = flags.DEFINE_string("wheels", None, "Folder of wheels that the other machine lacks.")
_LIMIT = flags.DEFINE_float("limit_mb", 60.0, "Largest archive, in 10^6 bytes.")
_THREADS = flags.DEFINE_integer("threads", 1, "Threads that encode.", lower_bound=1)

_PACKAGES = ("rnnt_qat", "data", "experiments")
_LEFT_OUT = ("__pycache__", "pretrained")
_ROOT = pathlib.Path(__file__).parents[1]


class PackError(UserError):
    """A pack that cannot be made."""


def main() -> None:
    """Packs and prints what it took, and the command that trains."""
    output = pathlib.Path(_OUTPUT.value)
    if not output.name.endswith(".tar.xz"):
        raise flags.ValidationError(f"--output={output}: name it NAME.tar.xz")
    configs = variants_of(_CONFIG, _VARIANTS)
    bit_rates = _bit_rates(configs)
    output.parent.mkdir(parents=True, exist_ok=True)
    console = Console()
    with tempfile.TemporaryDirectory(dir=output.parent) as scratch:
        folder = pathlib.Path(scratch) / output.name.removesuffix(".tar.xz")
        config_file = _copy_code(folder, pathlib.Path(_CONFIG.value))
        for config in configs:
            if config.initialize_from:
                shutil.copytree(config.initialize_from, folder / config.initialize_from)
        if _WHEELS.value:
            _extract_wheels(pathlib.Path(_WHEELS.value), folder / "site")
        for split, bit_rate in bit_rates.items():
            _pack(split, bit_rate, folder / "corpora", console)
        part = output.with_name(f"{output.name}.partial")
        with Progress(f"compressing {output}", console), tarfile.open(part, "w:xz") as archive:
            archive.add(folder, folder.name)
    megabytes = part.stat().st_size / 1e6
    if megabytes > _LIMIT.value:
        part.unlink()
        raise PackError(
            f"the archive has {megabytes:.1f} MB, --limit_mb={_LIMIT.value:g}: lower "
            f"--train_bit_rate={_TRAIN.value}, or pack less speech or fewer wheels"
        )
    part.replace(output)
    console.say(f"wrote {output}, {megabytes:.1f} MB. On the other machine:")
    console.say(f"  python3 -m tarfile -e {output.name} && cd {folder.name}")
    console.say(
        "  PYTHONPATH=site python3 -m experiments.train_within --seconds=520 --workdir=workdir/run "
        f"--config={config_file} --variants={','.join(_VARIANTS.value)}"
    )


def _bit_rates(configs: list[ExperimentConfig]) -> dict[Split, int]:
    """Returns the bit rate of each split that the configs name; the highest of several."""
    found: dict[str, int] = {}
    for config in configs:
        data = config.data
        for splits, bit_rate in (
            (data.train, _TRAIN.value),
            (data.validation, _VALIDATION.value),
            (data.test, _TEST.value),
            (data.held_out, 0),
        ):
            for split in splits:
                found[split.name] = max(found.get(split.name, 0), bit_rate)
    return {Split.parse(name): bit_rate for name, bit_rate in found.items()}


def _copy_code(folder: pathlib.Path, config: pathlib.Path) -> pathlib.Path:
    """Copies the packages and the config file; returns the latter's path in the folder."""
    for package in _PACKAGES:
        shutil.copytree(
            _ROOT / package, folder / package, ignore=shutil.ignore_patterns(*_LEFT_OUT)
        )
    own = config.resolve().relative_to(_ROOT) if config.resolve().is_relative_to(_ROOT) else None
    if own is None or own.parts[0] not in _PACKAGES:
        own = pathlib.Path(config.name)
        shutil.copy(config, folder / own)
    return own


def _extract_wheels(wheels: pathlib.Path, site: pathlib.Path) -> None:
    paths = sorted(wheels.glob("*.whl"))
    if not paths:
        raise flags.ValidationError(f"--wheels={wheels}: there is no wheel")
    for path in paths:
        with zipfile.ZipFile(path) as wheel:
            wheel.extractall(site)


def _pack(split: Split, bit_rate: int, corpora: pathlib.Path, console: Console) -> None:
    corpus = open_corpus(DATA_DIR.value, split.corpus, split.split)
    target = corpora / corpus.directory.relative_to(DATA_DIR.value)
    written = pack_split(corpus, target, bit_rate, _THREADS.value, console)
    seconds = corpus.num_samples.sum() / corpus.sample_rate_hz
    audio = (
        f"{written / 1e6:.2f} MB, {8 * written / seconds:.0f} bits/s" if bit_rate else "no audio"
    )
    console.say(f"{split.name}: {len(corpus)} utterances, {seconds / 3600:.2f} h, {audio}")


if __name__ == "__main__":
    run(main)
