"""Batches of one pass over a split, for evaluation."""

from collections.abc import Iterator

import numpy as np

from rnnt_qat.batch import AudioBatch, to_float
from rnnt_qat.frontend.frontend import FrontendConfig
from rnnt_qat.input_pipeline.assemble import Row, assemble
from rnnt_qat.input_pipeline.buckets import choose_buckets
from rnnt_qat.input_pipeline.config import PipelineConfig
from rnnt_qat.input_pipeline.examples import all_examples
from rnnt_qat.input_pipeline.mixture import SpeechSource
from rnnt_qat.input_pipeline.plan import PADDING, PlannedBatch, plan_epoch
from rnnt_qat.input_pipeline.tokenizer import Tokenizer


class EvalBatches:
    """Batches with every utterance of a split exactly once, identical on every pass.

    Batches are bucketed by length, shortest first. They hold audio, which a streaming evaluator
    divides into chunks. ``utterance_index`` identifies the utterance of each row.

    Attributes:
      buckets: static shapes, over all processes.
    """

    def __init__(
        self,
        source: SpeechSource,
        tokenizer: Tokenizer,
        frontend_config: FrontendConfig,
        config: PipelineConfig,
        *,
        row_multiple: int = 1,
        process_index: int = 0,
        process_count: int = 1,
    ):
        """Plans the pass.

        Args:
          source: a corpus split or a mixture, whose repeats are ignored.
          tokenizer: converts transcripts to labels.
          frontend_config: defines the frame length.
          config: options of the pipeline, of which ``num_buckets``, ``batch_seconds`` (exceeded if
            ``row_multiple`` rows need more), ``frame_multiple`` and the reading threads apply; the
            limits on utterances do not.
          row_multiple: divisor of every batch size over all processes.
          process_index: number of this process.
          process_count: number of processes that share each batch.

        Raises:
          TokenizerError: a transcript cannot be tokenized; the message names the utterance.
        """
        self._source = source
        self._examples = all_examples(source, tokenizer)
        lengths = self._examples.num_samples
        quantum = frontend_config.samples_per_frame * config.frame_multiple
        longest = -(-int(lengths.max(initial=1)) // quantum) * quantum
        rate = frontend_config.log_mel.sample_rate_hz
        self.buckets = choose_buckets(
            lengths,
            self._examples.num_labels,
            num_buckets=config.num_buckets,
            quantum=quantum,
            batch_samples=max(int(config.batch_seconds * rate), row_multiple * longest),
            row_multiple=row_multiple,
        )
        self._plan = plan_epoch(lengths, self.buckets)
        self._config = config
        self._process = process_index, process_count

    def __len__(self) -> int:
        return len(self._plan)

    @property
    def num_shapes(self) -> int:
        """Number of different shapes of the batches, i.e. of programs that decode them."""
        return len({planned.bucket for planned in self._plan})

    def __iter__(self) -> Iterator[AudioBatch]:
        import grain  # slow import, needed once there is something to read

        options = grain.ReadOptions(
            num_threads=self._config.read_threads,
            prefetch_buffer_size=max(self._config.prefetch_batches, self._config.read_threads),
        )
        return iter(grain.MapDataset.source(self._plan).map(self._load).to_iter_dataset(options))

    def _load(self, planned: PlannedBatch) -> AudioBatch:
        rows = [
            None if example == PADDING else self._row(int(example))
            for example in planned.rows_of_process(*self._process)
        ]
        return assemble(rows, planned.bucket)

    def _row(self, example: int) -> Row:
        audio: np.ndarray = self._source[example].audio
        return example, to_float(audio), self._examples.labels[example]
