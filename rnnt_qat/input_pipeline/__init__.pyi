from .augmentation import WaveformAugmentation
from .config import PipelineConfig
from .corpus import (
    CHECKSUM,
    LETTERS,
    SAMPLE_RATE_HZ,
    Corpus,
    CorpusError,
    open_corpus,
    preparation_checksum,
)
from .eval_batches import EvalBatches
from .joined import JoinedUtterances
from .mixture import Mixture, SpeechSource
from .room import reverberate, room_response, telephone_band
from .selected import SelectedUtterances, without_texts
from .tokenizer import CharacterTokenizer, SentencePieceTokenizer, Tokenizer, load_tokenizer
from .train_iterator import TrainIterator

__all__ = [
    "CHECKSUM",
    "LETTERS",
    "SAMPLE_RATE_HZ",
    "CharacterTokenizer",
    "Corpus",
    "CorpusError",
    "EvalBatches",
    "JoinedUtterances",
    "Mixture",
    "PipelineConfig",
    "SelectedUtterances",
    "SentencePieceTokenizer",
    "SpeechSource",
    "Tokenizer",
    "TrainIterator",
    "WaveformAugmentation",
    "load_tokenizer",
    "open_corpus",
    "preparation_checksum",
    "reverberate",
    "room_response",
    "telephone_band",
    "without_texts",
]
