"""Recognizes the WAV files of a folder with another project's recognizer, one after the other.

    python benchmarks/recognizers_worker.py KIND MODEL FOLDER

Runs in the environment of that recognizer (``make_recognizers.sh``), so it imports nothing of ours.
Prints a JSON line per file: its name, the recognized text and the processor seconds it took.
Recognizers are told to use one thread.
"""

import json
import pathlib
import sys
import time
import wave

import numpy as np


def samples(path: pathlib.Path) -> np.ndarray:
    """Reads a WAV file of 16 kHz, 16 bits and one channel as int16."""
    with wave.open(str(path), "rb") as file:
        if (file.getframerate(), file.getsampwidth(), file.getnchannels()) != (16000, 2, 1):
            raise ValueError(f"{path} must be 16 kHz, 16 bits, mono")
        return np.frombuffer(file.readframes(file.getnframes()), np.int16)


def moonshine(model: str):
    """Moonshine tiny; ``model`` is the folder of its two ONNX files. Not streaming."""
    import moonshine_onnx
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    make = onnxruntime.InferenceSession
    onnxruntime.InferenceSession = lambda path: make(path, options)
    loaded = moonshine_onnx.MoonshineOnnxModel(models_dir=model, model_name="tiny")
    tokenizer = moonshine_onnx.load_tokenizer()

    def recognize(audio: np.ndarray) -> str:
        # The published code pads nothing; its convolutions need a quarter of a second.
        audio = np.pad(audio, (0, max(0, 4000 - len(audio)))).astype(np.float32) / 2**15
        # Its authors' bound on tokens, which stops loops on what it does not understand.
        tokens = loaded.generate(audio[None], max_len=max(2, int(len(audio) / 16000 * 6)))
        return tokenizer.decode_batch(tokens)[0]

    return recognize


def pocketsphinx(model: str):
    """PocketSphinx with its own English model and language model; ``model`` is not used."""
    del model
    from pocketsphinx import Decoder

    decoder = Decoder(samprate=16000, loglevel="FATAL")

    def recognize(audio: np.ndarray) -> str:
        decoder.start_utt()
        decoder.process_raw(audio.tobytes(), full_utt=True)
        decoder.end_utt()
        return decoder.hyp().hypstr if decoder.hyp() else ""

    return recognize


def vosk(model: str):
    """Vosk; ``model`` is the folder of one of its models. Streaming, 240 ms at a time."""
    from vosk import KaldiRecognizer, Model, SetLogLevel

    SetLogLevel(-1)
    loaded = Model(model)

    def recognize(audio: np.ndarray) -> str:
        recognizer, texts = KaldiRecognizer(loaded, 16000), []
        for start in range(0, len(audio), 3840):
            if recognizer.AcceptWaveform(audio[start : start + 3840].tobytes()):
                texts.append(json.loads(recognizer.Result())["text"])
        return " ".join([*texts, json.loads(recognizer.FinalResult())["text"]])

    return recognize


KINDS = {"moonshine": moonshine, "pocketsphinx": pocketsphinx, "vosk": vosk}


def main(kind: str, model: str, folder: str) -> None:
    """Recognizes every file of the folder."""
    recognize = KINDS[kind](model)
    for path in sorted(pathlib.Path(folder).glob("*.wav")):
        audio = samples(path)
        began = time.process_time()
        text = recognize(audio)
        line = {"id": path.stem, "text": text, "cpu_s": time.process_time() - began}
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:4])
