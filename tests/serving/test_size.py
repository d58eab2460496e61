from rnnt_qat.quant.policies import policy_by_name
from rnnt_qat.serving.size import model_bytes
from tests.serving.test_audit import FEATURES, LSTM

KERNELS = 12 * 16 + 4 * 16 + 4 * 5 + 3 * 16 + 4 * 16 + 4 * 5 + 5 * 7
BIASES = 16 + 5 + 16 + 5 + 7
EMBEDDING = 7 * 3


def size(name):
    return model_bytes(LSTM, policy_by_name(name), FEATURES)


def test_bytes_of_kernels_biases_and_embedding():
    assert size("float32") == 4 * (KERNELS + BIASES + EMBEDDING)
    assert size("ethos_u_8x8_16") == KERNELS + 4 * BIASES + EMBEDDING
    assert size("ethos_u_8x8_16_w2") == -(-KERNELS // 4) + 4 * BIASES + EMBEDDING
    assert size("ethos_u_16x8") == KERNELS + 5 * BIASES + 2 * EMBEDDING
