from .arithmetic import LITERT as LITERT
from .arithmetic import TFLM as TFLM
from .arithmetic import RuntimeArithmetic as RuntimeArithmetic
from .artefact import (
    MANIFEST as MANIFEST,
)
from .artefact import (
    Artefact as Artefact,
)
from .artefact import (
    ArtefactError as ArtefactError,
)
from .artefact import (
    load as load,
)
from .artefact import (
    save as save,
)
from .integers import (
    GATE as GATE,
)
from .integers import (
    GATE_NAMES as GATE_NAMES,
)
from .integers import (
    GATE_PRE as GATE_PRE,
)
from .integers import (
    DenseIntegers as DenseIntegers,
)
from .integers import (
    EncoderIntegers as EncoderIntegers,
)
from .integers import (
    JointIntegers as JointIntegers,
)
from .integers import (
    LstmIntegers as LstmIntegers,
)
from .integers import (
    PredictionIntegers as PredictionIntegers,
)
from .integers import (
    RecurrentIntegers as RecurrentIntegers,
)
from .integers import (
    RnntIntegers as RnntIntegers,
)
from .layer_player import (
    LstmState as LstmState,
)
from .layer_player import (
    initial_lstm_state as initial_lstm_state,
)
from .layer_player import (
    initial_state as initial_state,
)
from .layer_player import (
    play_lstm as play_lstm,
)
from .player import (
    BLANK_ID as BLANK_ID,
)
from .player import (
    Player as Player,
)
from .player import (
    StreamingRecognizer as StreamingRecognizer,
)
from .player import (
    Transcript as Transcript,
)
from .player import (
    greedy as greedy,
)
from .player import (
    quantize_features as quantize_features,
)
from .recorded_layer import (
    INPUT as INPUT,
)
from .recorded_layer import (
    Constant as Constant,
)
from .recorded_layer import (
    Node as Node,
)
from .recorded_layer import (
    NodeKind as NodeKind,
)
from .recorded_layer import (
    RecordedLayer as RecordedLayer,
)
from .recorded_layer import (
    StateTensor as StateTensor,
)
from .tensor_format import TensorFormat as TensorFormat
