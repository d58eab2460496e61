"""A corpus of noise in memory, with lengths and texts of a stated shape."""

import types

import numpy as np


class NoiseCorpus:
    """`size` utterances of 0.2 to 6 s, about ten characters a second; ids are `<seed>-<index>`."""

    sample_rate_hz = 16_000

    def __init__(self, size, seed=0):
        rng = np.random.default_rng(seed)
        self.seed = seed
        self.num_samples = rng.integers(3_200, 96_000, size)
        letters = np.array(list("abcdefghij"))
        self.texts = ["".join(rng.choice(letters, max(1, n // 1600))) for n in self.num_samples]
        self.ids = [f"{seed}-{i}" for i in range(size)]
        self.reads = 0

    def __len__(self):
        return len(self.texts)

    def __getitem__(self, index):
        self.reads += 1
        rng = np.random.default_rng([self.seed, index])
        audio = rng.integers(-3000, 3000, self.num_samples[index]).astype(np.int16)
        return types.SimpleNamespace(audio=audio)
