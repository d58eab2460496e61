#!/usr/bin/env sh
# Packs what benchmarks/accelerator.py and experiments/train_within.py need beside jax: wheels for
# Linux and a Python (default 3.12); or only the packages named, which the other machine lacks.
#
#   sh benchmarks/pack_wheels.sh FOLDER [PYTHON_VERSION [PACKAGE ...]]
#
# On the machine with the accelerator, whose jax stays as it is:
#
#   python -m pip install --no-index --no-deps --target=FOLDER/installed FOLDER/*.whl
#   PYTHONPATH=FOLDER/installed python -m benchmarks.accelerator --output=accelerator
set -eu
folder=$1
version=${2:-3.12}
shift; [ $# -eq 0 ] || shift
[ $# -gt 0 ] || set -- \
  absl-py aiofiles aqtp array_record cffi click cloudpickle etils flax fsspec grain humanize \
  importlib_resources jaxtyping jiwer lazy_loader markdown-it-py mdurl ml_collections msgpack \
  optax orbax-checkpoint packaging portpicker prometheus-client protobuf psutil pycparser \
  pygments pyyaml rapidfuzz rich sentencepiece simplejson soundfile tensorboardX tensorstore \
  treescope typing_extensions uvloop wadler_lindig zipp
python -m pip download --quiet --dest "$folder" --no-deps --only-binary=:all: \
  --python-version "$version" --platform manylinux_2_28_x86_64 --platform manylinux_2_17_x86_64 \
  --platform manylinux2014_x86_64 --platform any \
  --constraint "$(dirname "$0")/../requirements.txt" "$@"
du -sh "$folder"
