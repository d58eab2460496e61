#!/bin/sh
# Environment of other recognizers, for benchmarks/recognizers.py only: Moonshine tiny and PocketSphinx.
#
#     sh benchmarks/make_recognizers.sh FOLDER        (Python 3.11, npm; a minute, 400 MB)
#
# Prints the flags that benchmarks.recognizers takes. Vosk's library is installed as well; its
# models are on no package registry: unpack one and add vosk=FOLDER to --peers.
set -eu
folder=$(mkdir -p "$1" && cd "$1" && pwd)
cd "$folder"
python3 -m venv venv
venv/bin/python -m pip install -q useful-moonshine-onnx==20251121 pocketsphinx==5.1.1 vosk==0.3.45 onnxruntime==1.32.0
npm pack --silent @moonshine-ai/moonshine-js@0.1.29 >/dev/null
tar xzf moonshine-ai-moonshine-js-0.1.29.tgz package/dist/model/tiny/quantized

echo "--peer_python=$folder/venv/bin/python --peers=moonshine=$folder/package/dist/model/tiny/quantized,pocketsphinx="
