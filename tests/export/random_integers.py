"""Random layers in integers: full-range weights, scales of every kind."""

import numpy as np

from rnnt_qat.artefact.integers import (
    EncoderIntegers,
    JointIntegers,
    PredictionIntegers,
    RnntIntegers,
)
from rnnt_qat.artefact.layer_integers import DenseIntegers, LstmIntegers
from rnnt_qat.artefact.tensor_format import TensorFormat


def random_lstm(
    rng: np.random.Generator,
    inputs: int,
    hidden: int,
    wide: bool,
    power_of_two: bool = False,
    gain: float = 1.0,
    per_unit: bool = False,
    input_format: TensorFormat | None = None,
    output_format: TensorFormat | None = None,
) -> LstmIntegers:
    """An LSTM; ``gain`` moves its pre-activations between the quiet and the saturated."""
    bias = np.int64 if wide else np.int32
    if wide:
        input_format = input_format or TensorFormat(np.int16, 2.0**-11)
        output_format = output_format or TensorFormat(np.int16, 2.0**-15)
    elif power_of_two:
        input_format = input_format or TensorFormat(np.int8, 2.0**-5)
        output_format = output_format or TensorFormat(np.int8, 2.0**-7)
    else:
        input_format = input_format or TensorFormat(np.int8, 0.034, 3)
        output_format = output_format or TensorFormat(np.int8, 0.0073, -5)
    gain = gain / 256 if wide else gain

    def scales() -> np.ndarray:
        if power_of_two:
            return np.full(4, 2.0 ** round(np.log2(gain / 512)), np.float32)
        shape = (4, hidden) if per_unit else 4
        return (gain * rng.uniform(0.001, 0.003, shape)).astype(np.float32)

    return LstmIntegers(
        w_ih=rng.integers(-127, 128, (4, hidden, inputs)).astype(np.int8),
        w_hh=rng.integers(-127, 128, (4, hidden, hidden)).astype(np.int8),
        bias=rng.integers(-2000, 2000, (4, hidden)).astype(bias),
        input=input_format,
        hidden=output_format,
        cell=TensorFormat(np.int16, 2.0**-11),
        w_ih_scale=scales(),
        w_hh_scale=scales(),
    )


def random_dense(
    rng: np.random.Generator,
    inputs: int,
    outputs: int,
    input_format: TensorFormat,
    output_format: TensorFormat,
    gain: float = 1.0,
    per_output: bool = False,
) -> DenseIntegers:
    """A dense layer whose outputs fill about ``gain`` of their format."""
    bias = np.int64 if input_format.dtype == np.int16 else np.int32
    spread = 73 * np.iinfo(input_format.dtype).max / np.sqrt(3) * np.sqrt(inputs)
    scale = (
        gain
        * np.iinfo(output_format.dtype).max
        / 3
        * output_format.scale
        / (spread * input_format.scale)
    )
    scales = scale * rng.uniform(0.7, 1.4, outputs if per_output else ())
    return DenseIntegers(
        weights=rng.integers(-127, 128, (outputs, inputs)).astype(np.int8),
        bias=rng.integers(-2000, 2000, outputs).astype(bias),
        input=input_format,
        output=output_format,
        weight_scale=np.asarray(scales, np.float32),
    )


def random_rnnt(
    rng: np.random.Generator, wide: bool, frames_per_group: int = 2, context: int = 1
) -> RnntIntegers:
    """A small recognizer in the formats of ``ethos_u_16x8`` (wide) or ``ethos_u_8x8_16``.

    A stateless prediction network if ``context`` > 1.
    """
    features, hidden, joint, vocabulary, embedding = 24, 20, 16, 12, 8
    if wide:
        activation = TensorFormat(np.int16, 2.0**-11)
        state = TensorFormat(np.int16, 2.0**-15)
        projection = total = TensorFormat(np.int16, 2.0**-12)
        squashed, logits = TensorFormat(np.int16, 2.0**-15), TensorFormat(np.int16, 2.0**-10)
    else:
        activation, state = TensorFormat(np.int8, 2.0**-5), TensorFormat(np.int8, 2.0**-7)
        projection, total = TensorFormat(np.int8, 2.0**-5), TensorFormat(np.int8, 2.0**-4)
        squashed, logits = TensorFormat(np.int8, 2.0**-7), TensorFormat(np.int8, 2.0**-4)

    def lstm(inputs: int, input_format: TensorFormat) -> LstmIntegers:
        gain = activation.scale / input_format.scale
        return random_lstm(
            rng, inputs, hidden, wide, gain=gain, input_format=input_format, output_format=state
        )

    prediction_layers = (lstm(embedding, activation),) if context == 1 else ()
    last = state if prediction_layers else activation
    width = hidden if prediction_layers else context * embedding
    limit = np.iinfo(activation.dtype).max
    return RnntIntegers(
        chip="ethos_u_16x8" if wide else "ethos_u_8x8_16",
        encoder=EncoderIntegers(
            layers=(
                lstm(features, activation),
                lstm(frames_per_group * hidden, state),
                lstm(hidden, state),
            ),
            layers_before_reduction=1,
            time_reduction=frames_per_group,
            projection=random_dense(rng, hidden, joint, state, projection, per_output=True),
        ),
        prediction=PredictionIntegers(
            embedding=rng.integers(-limit, limit + 1, (vocabulary, embedding)).astype(
                activation.dtype
            ),
            embedding_format=activation,
            context=context,
            layers=prediction_layers,
            projection=random_dense(rng, width, joint, last, projection),
        ),
        joint=JointIntegers(
            sum=total,
            hidden=squashed,
            output=random_dense(rng, joint, vocabulary, squashed, logits, per_output=True),
        ),
    )


def random_features(rng: np.random.Generator, model: RnntIntegers, frames: int) -> np.ndarray:
    """Full-range features in the model's input format."""
    limits = np.iinfo(model.encoder.layers[0].input.dtype)
    shape = (frames, model.encoder.feature_size)
    return rng.integers(limits.min, limits.max + 1, shape).astype(limits.dtype)
