#!/bin/sh
# Environment of PyTorch's transducer losses, for benchmarks/loss.py only: CPU builds, no root.
#
#     sh benchmarks/make_peers.sh FOLDER        (Python 3.11, g++; about 10 minutes, 1.2 GB)
#
# Prints the two flags that benchmarks.loss takes. torchaudio is published for CUDA only; its CPU
# kernels run once the loader finds libraries of the names it asks for, so empty ones are made.
# fast_rnnt's own build fetches pybind11 from the network and predates C++20, which this torch
# asks for: its three C++ files are compiled directly, with -O3.
set -eu
folder=$(mkdir -p "$1" && cd "$1" && pwd)
cd "$folder"
python3 -m venv venv
python=$folder/venv/bin/python
$python -m pip install -q torch==2.13.0 numpy setuptools wheel
$python -m pip install -q --no-deps torchaudio==2.11.0
$python -m pip download -q --no-deps --no-build-isolation --no-binary :all: fast_rnnt==1.3
tar xzf fast_rnnt-1.3.tar.gz

site=$($python -c "import site; print(site.getsitepackages()[0])")
torch_lib=$site/torch/lib

mkdir -p stubs
nm -D --undefined-only "$site"/torchaudio/lib/*.so | awk 'NF == 2 {print $2}' | sort -u >wanted
nm -D --defined-only "$torch_lib"/*.so* 2>/dev/null | awk 'NF == 3 {print $3}' | sed 's/@.*//' | sort -u >present
sed -n 's/@libcudart.*//p' wanted | sort -u | awk '{print "void *" $1 "(void) { return 0; }"}' >stubs/cudart.c
grep -v @ wanted | grep -i cuda | comm -23 - present | awk '{print "void *" $1 "(void) { return 0; }"}' >stubs/c10_cuda.c
: >stubs/empty.c
echo 'libcudart.so.13 { global: *; };' >stubs/cudart.map
cc -w -shared -fPIC -Wl,-soname,libcudart.so.13,--version-script=stubs/cudart.map -o stubs/libcudart.so.13 stubs/cudart.c
cc -w -shared -fPIC -Wl,-soname,libc10_cuda.so -o stubs/libc10_cuda.so stubs/c10_cuda.c
cc -w -shared -fPIC -Wl,-soname,libtorch_cuda.so -o stubs/libtorch_cuda.so stubs/empty.c

cd fast_rnnt-1.3
mkdir -p direct
cp fast_rnnt/csrc/mutual_information_cpu.cu direct/mutual_information_cpu.cc
cp fast_rnnt/python/csrc/fast_rnnt.cu direct/fast_rnnt.cc
cp fast_rnnt/python/csrc/mutual_information.cu direct/mutual_information.cc
includes=$($python -c "
import sysconfig
from torch.utils.cpp_extension import include_paths
print(' '.join('-I' + p for p in [*include_paths(), sysconfig.get_paths()['include'], '.']))")
g++ -O3 -march=native -DNDEBUG -std=c++20 -shared -fPIC $includes -DTORCH_EXTENSION_NAME=_fast_rnnt \
  direct/*.cc -o "$site/_fast_rnnt.so" -L"$torch_lib" -ltorch -ltorch_cpu -lc10 -ltorch_python \
  -Wl,-rpath,"$torch_lib"
cp -r fast_rnnt/python/fast_rnnt "$site/"

echo "--peer_python=$python --peer_library_path=$folder/stubs"
