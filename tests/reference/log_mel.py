"""Log-mel frames by definition: float64 NumPy, a frame at a time, a DFT as a sum of cosines."""

import numpy as np


def mel_to_hz(mel):
    return mel * 200 / 3 if mel < 15 else 1000 * np.exp((mel - 15) * np.log(6.4) / 27)


def hz_to_mel(hz):
    return hz * 3 / 200 if hz < 1000 else 15 + np.log(hz / 1000) * 27 / np.log(6.4)


def filter_weight(hz, left, centre, right):
    if left < hz <= centre:
        return (hz - left) / (centre - left)
    if centre < hz < right:
        return (right - hz) / (right - centre)
    return 0.0


def log_mel(audio, rate, window, hop, bins, fft_size, low_hz, high_hz, preemphasis, floor):
    """``audio [N]`` to ``[ceil(N / hop), bins]``."""
    audio = np.asarray(audio, np.float64)
    num_frames = int(np.ceil(len(audio) / hop))
    audio = np.concatenate([audio, np.zeros(num_frames * hop - len(audio))])
    emphasised = audio - preemphasis * np.concatenate([[0.0], audio[:-1]])
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(window) / (window - 1))
    lowest, highest = hz_to_mel(low_hz), hz_to_mel(high_hz)
    edges = [mel_to_hz(lowest + (highest - lowest) * i / (bins + 1)) for i in range(bins + 2)]
    hz = np.arange(fft_size // 2 + 1) * rate / fft_size
    weights = np.array([[filter_weight(f, *edges[m : m + 3]) for m in range(bins)] for f in hz])
    phase = 2 * np.pi * np.outer(np.arange(window), np.arange(fft_size // 2 + 1)) / fft_size
    frames = []
    for t in range(num_frames):
        end = (t + 1) * hop
        piece = emphasised[max(0, end - window) : end]
        piece = np.concatenate([np.zeros(window - len(piece)), piece]) * hann
        power = (piece @ np.cos(phase)) ** 2 + (piece @ np.sin(phase)) ** 2
        frames.append(np.log(power @ weights + floor))
    return np.array(frames)
