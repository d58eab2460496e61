from .augmentation import WaveformAugmentation as WaveformAugmentation
from .config import PipelineConfig as PipelineConfig
from .corpus import (
    CHECKSUM as CHECKSUM,
)
from .corpus import (
    LETTERS as LETTERS,
)
from .corpus import (
    SAMPLE_RATE_HZ as SAMPLE_RATE_HZ,
)
from .corpus import (
    Corpus as Corpus,
)
from .corpus import (
    CorpusError as CorpusError,
)
from .corpus import (
    open_corpus as open_corpus,
)
from .corpus import (
    preparation_checksum as preparation_checksum,
)
from .eval_batches import EvalBatches as EvalBatches
from .joined import JoinedUtterances as JoinedUtterances
from .mixture import Mixture as Mixture
from .mixture import SpeechSource as SpeechSource
from .room import (
    reverberate as reverberate,
)
from .room import (
    room_response as room_response,
)
from .room import (
    telephone_band as telephone_band,
)
from .selected import SelectedUtterances as SelectedUtterances
from .selected import without_texts as without_texts
from .tokenizer import (
    CharacterTokenizer as CharacterTokenizer,
)
from .tokenizer import (
    SentencePieceTokenizer as SentencePieceTokenizer,
)
from .tokenizer import (
    Tokenizer as Tokenizer,
)
from .tokenizer import (
    load_tokenizer as load_tokenizer,
)
from .train_iterator import TrainIterator as TrainIterator
