from .artefact_engine import ArtefactEngine
from .config import DataConfig, ExperimentConfig, Split
from .diagnoser import Diagnoser, utterances
from .recognizer import ModelDirectoryError, Recognizer, find_models, model_directories, name_models
from .recognizer_engine import RecognizerEngine
from .runner import Experiment
from .task import RecognizerTask
from .transcriber import Engine, LiveTranscriber
from .transcript_formats import FORMATS, Segment, TranscriptFormat
from .unit_pruning import UnitPruning

__all__ = [
    "FORMATS",
    "ArtefactEngine",
    "DataConfig",
    "Diagnoser",
    "Engine",
    "Experiment",
    "ExperimentConfig",
    "LiveTranscriber",
    "ModelDirectoryError",
    "Recognizer",
    "RecognizerEngine",
    "RecognizerTask",
    "Segment",
    "Split",
    "TranscriptFormat",
    "UnitPruning",
    "find_models",
    "model_directories",
    "name_models",
    "utterances",
]
