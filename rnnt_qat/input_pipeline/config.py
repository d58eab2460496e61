"""How training batches are made."""

import dataclasses

from rnnt_qat.input_pipeline.augmentation import WaveformAugmentation


@dataclasses.dataclass(frozen=True)
class PipelineConfig:
    """How training batches are made.

    Attributes:
      num_buckets: the most static shapes, that is compilations of the training step.
      batch_seconds: audio in a batch over all processes, padding included, at most.
      max_seconds: longer utterances are skipped and counted.
      max_labels_per_second: above it, an utterance is skipped and counted: its transcript and
        its audio cannot belong together.
      frame_multiple: what the (stacked) frames of every bucket are a multiple of: a multiple of the
        encoder's time reduction.
      features_on_host: True: the pipeline's threads compute features and give ``Batch``; False: it
        gives ``AudioBatch`` and the training step computes them on the device.
      augmentation: of the waveform; nothing by default.
      cache_bytes: decoded audio kept in memory, at most; in its place finished rows of features
        where those are computed on the host and no augmentation changes them.
      read_threads: threads that read and prepare batches.
      prefetch_batches: batches prepared ahead.
    """

    num_buckets: int = 5
    batch_seconds: float = 120.0
    max_seconds: float = 20.0
    max_labels_per_second: float = 40.0
    frame_multiple: int = 8
    features_on_host: bool = True
    augmentation: WaveformAugmentation = dataclasses.field(default_factory=WaveformAugmentation)
    cache_bytes: int = 2 << 30
    read_threads: int = 2
    prefetch_batches: int = 4

    def __post_init__(self):
        for name in ("num_buckets", "frame_multiple", "read_threads", "prefetch_batches"):
            if getattr(self, name) < 1:
                raise ValueError(f"pipeline.{name}={getattr(self, name)} must be at least 1")
        for name in ("batch_seconds", "max_seconds", "max_labels_per_second"):
            if getattr(self, name) <= 0:
                raise ValueError(f"pipeline.{name}={getattr(self, name)} must be positive")
        if self.cache_bytes < 0:
            raise ValueError(f"pipeline.cache_bytes={self.cache_bytes} is negative")
