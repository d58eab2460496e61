"""Configuration of the input pipeline."""

import dataclasses

from rnnt_qat.input_pipeline.augmentation import WaveformAugmentation


@dataclasses.dataclass(frozen=True)
class PipelineConfig:
    """Options of the input pipeline.

    Attributes:
      num_buckets: maximum number of static shapes, i.e. of compilations of the training step.
      batch_seconds: maximum seconds of audio in a batch over all processes, including padding.
      max_seconds: maximum duration of an utterance; longer ones are skipped and counted.
      max_labels_per_second: maximum rate of labels; utterances above it are skipped and counted,
        because transcript and audio cannot match.
      row_multiple: divisor of every batch size. Devices and accumulation steps that divide it give
        the same batches, so that a run can go on with another number of devices.
      frame_multiple: divisor of the number of (stacked) frames of every bucket; must be a multiple
        of the time reduction of the encoder.
      features_on_host: if True, the threads of the pipeline compute features and it yields
        ``Batch``; if False, it yields ``AudioBatch`` and the training step computes the features on
        the device.
      augmentation: options of waveform augmentation; the default changes nothing.
      cache_bytes: maximum size of the cache of decoded audio. If features are computed on the host
        and no augmentation changes them, it holds rows of features instead.
      read_threads: number of threads that read and prepare batches.
      prefetch_batches: number of batches prepared in advance.
      memory_bytes: memory of each device in bytes that a training step may take by the compiler's
        account (``training.batch_sizing``). Each training stage then takes the largest batches
        whose step fits, in place of ``batch_seconds``; a smaller network takes larger ones. 0 takes
        ``batch_seconds``.
    """

    num_buckets: int = 5
    batch_seconds: float = 120.0
    max_seconds: float = 20.0
    max_labels_per_second: float = 40.0
    row_multiple: int = 1
    frame_multiple: int = 8
    features_on_host: bool = True
    augmentation: WaveformAugmentation = dataclasses.field(default_factory=WaveformAugmentation)
    cache_bytes: int = 2 << 30
    read_threads: int = 2
    prefetch_batches: int = 4
    memory_bytes: int = 0

    def __post_init__(self):
        for name in (
            "num_buckets",
            "row_multiple",
            "frame_multiple",
            "read_threads",
            "prefetch_batches",
        ):
            if getattr(self, name) < 1:
                raise ValueError(f"pipeline.{name}={getattr(self, name)} must be at least 1")
        for name in ("batch_seconds", "max_seconds", "max_labels_per_second"):
            if getattr(self, name) <= 0:
                raise ValueError(f"pipeline.{name}={getattr(self, name)} must be positive")
        for name in ("cache_bytes", "memory_bytes"):
            if getattr(self, name) < 0:
                raise ValueError(f"pipeline.{name}={getattr(self, name)} is negative")
