from .artefact_engine import ArtefactEngine as ArtefactEngine
from .config import DataConfig as DataConfig
from .config import ExperimentConfig as ExperimentConfig
from .config import Split as Split
from .diagnoser import Diagnoser as Diagnoser
from .diagnoser import utterances as utterances
from .recognizer import (
    ModelDirectoryError as ModelDirectoryError,
)
from .recognizer import (
    Recognizer as Recognizer,
)
from .recognizer import (
    find_models as find_models,
)
from .recognizer import (
    model_directories as model_directories,
)
from .recognizer import (
    name_models as name_models,
)
from .recognizer_engine import RecognizerEngine as RecognizerEngine
from .runner import Experiment as Experiment
from .task import RecognizerTask as RecognizerTask
from .transcriber import Engine as Engine
from .transcriber import LiveTranscriber as LiveTranscriber
from .transcript_formats import (
    FORMATS as FORMATS,
)
from .transcript_formats import (
    Segment as Segment,
)
from .transcript_formats import (
    TranscriptFormat as TranscriptFormat,
)
