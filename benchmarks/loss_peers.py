"""Workers of ``benchmarks.loss`` for PyTorch's transducer losses, each run as it documents.

    PEER_PYTHON -m benchmarks.loss_peers torchaudio|fast_rnnt logits|joint B,T,U,V[,ragged] [FILE]

Runs in the peers' own environment (``benchmarks/make_peers.sh``). With FILE it writes loss and
gradients there as ``.npz`` and ends.
"""

import sys
from collections.abc import Callable

import numpy as np

from benchmarks.loss_inputs import Case
from benchmarks.measure import serve, skip


def torchaudio_loss(case: Case) -> Callable:
    """``torchaudio.functional.rnnt_loss``: softmax and its gradient fused."""
    import torch
    from torchaudio.functional import rnnt_loss

    frames, lengths = (torch.from_numpy(x) for x in case.lengths())
    labels = torch.from_numpy(case.labels())
    return lambda logits: rnnt_loss(logits, labels, frames, lengths, blank=0, reduction="none")


def fast_rnnt_loss(case: Case) -> Callable:
    """``fast_rnnt.rnnt_loss``: k2's, on logits."""
    import torch
    from fast_rnnt import rnnt_loss

    frames, lengths = case.lengths()
    boundary = torch.zeros((case.B, 4), dtype=torch.int64)
    boundary[:, 2], boundary[:, 3] = torch.from_numpy(lengths), torch.from_numpy(frames)
    labels = torch.from_numpy(case.labels()).to(torch.int64)
    return lambda logits: rnnt_loss(
        logits, labels, termination_symbol=0, boundary=boundary, reduction="none"
    )


LOSSES = {"torchaudio": torchaudio_loss, "fast_rnnt": fast_rnnt_loss}


def main(peer: str, form: str, sizes: str, file: str = "") -> None:
    case = Case.parse(sizes)
    try:
        import torch

        loss_of = LOSSES[peer](case)
    except (ImportError, OSError) as error:
        skip(f"{peer} does not load here: {error}")
        return
    torch.set_num_threads(1)

    if form == "logits":
        inputs = [torch.from_numpy(case.logits()).requires_grad_()]

        def logits_of():
            return inputs[0]
    else:
        inputs = [torch.from_numpy(x).requires_grad_() for x in case.joint()]

        def logits_of():
            encoded, predicted, kernel, bias = inputs
            return torch.tanh(encoded[:, :, None] + predicted[:, None]) @ kernel + bias

    def step():
        loss = loss_of(logits_of())
        gradients = torch.autograd.grad(loss.sum(), inputs)
        return loss, gradients

    if file:
        loss, gradients = step()
        np.savez(file, loss.detach().numpy(), *(g.numpy() for g in gradients))
        return
    serve(step, {"torch": torch.__version__})


if __name__ == "__main__":
    main(*sys.argv[1:])
