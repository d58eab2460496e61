"""What engines of a trained model share: the sizes of a chunk and the driver of the search."""

from rnnt_qat.decoding.chunk_driver import ChunkDriver
from rnnt_qat.decoding.endpoint import EndpointConfig
from rnnt_qat.decoding.hypothesis import Hypothesis
from rnnt_qat.decoding.live_driver import Emitted, LiveDriver
from rnnt_qat.decoding.search import SearchConfig
from rnnt_qat.experiment.recognizer import Recognizer
from rnnt_qat.experiment.transcriber import Token


class ModelEngine:
    """A trained model that decodes unbounded streams in chunks of one length.

    Args:
      recognizer: the trained model.
      search: config of the search.
      chunk_ms: audio per chunk in milliseconds, a multiple of the encoder frame.
      endpoint: endpointing rules; None ends segments only at the end of a stream.

    Attributes:
      piece: function that returns the text of a token.
      transducer: the model with its variables.
      chunk_samples: samples of a chunk.
      sample_rate_hz: sample rate of the audio.
      frame_s: seconds of an encoder frame.
      driver: the search, chunk by chunk.

    Raises:
      ValueError: if ``chunk_ms`` is not a multiple of the encoder frame.
    """

    def __init__(
        self,
        recognizer: Recognizer,
        search: SearchConfig,
        chunk_ms: float,
        endpoint: EndpointConfig | None,
    ):
        frontend = recognizer.frontend
        sizes = ChunkDriver(frontend, search.build())
        self.piece = recognizer.tokenizer.piece
        self.transducer = recognizer.transducer()
        self.chunk_samples = sizes.chunk_samples(self.transducer, chunk_ms)
        self.sample_rate_hz = frontend.config.log_mel.sample_rate_hz
        self.frame_s = sizes.encoder_frame_ms(self.transducer) / 1000
        frames = self.chunk_samples // sizes.encoder_frame_samples(self.transducer)
        self.driver = LiveDriver(frontend, search, frames, endpoint)


def tokens_of(emitted: Emitted | Hypothesis, row: int = 0) -> list[Token]:
    """Returns the tokens of one stream.

    Args:
      emitted: tokens of a batch, on the host.
      row: the stream's row.
    """
    n = int(emitted.length[row])
    return list(
        zip(
            emitted.tokens[row, :n].tolist(),
            emitted.emission_frames[row, :n].tolist(),
            emitted.token_log_probs[row, :n].tolist(),
            strict=True,
        )
    )
