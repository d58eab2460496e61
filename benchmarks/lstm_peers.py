"""Worker of ``benchmarks.lstm`` for ``torch.nn.LSTM``, in the peers' environment.

PEER_PYTHON -m benchmarks.lstm_peers LAYERS,WIDTH,ROWS,FRAMES
"""

import sys

from benchmarks.lstm_inputs import Stack
from benchmarks.measure import serve, skip


def main(sizes: str) -> None:
    stack = Stack.parse(sizes)
    try:
        import torch
    except (ImportError, OSError) as error:
        skip(f"torch does not load here: {error}")
        return
    torch.set_num_threads(1)
    lstm = torch.nn.LSTM(stack.width, stack.width, stack.layers, batch_first=True)
    with torch.no_grad():
        for n, (input_kernel, recurrent_kernel, bias) in enumerate(stack.kernels()):
            getattr(lstm, f"weight_ih_l{n}").copy_(torch.from_numpy(input_kernel.T))
            getattr(lstm, f"weight_hh_l{n}").copy_(torch.from_numpy(recurrent_kernel.T))
            getattr(lstm, f"bias_ih_l{n}").copy_(torch.from_numpy(bias))
            getattr(lstm, f"bias_hh_l{n}").zero_()
    xs = torch.from_numpy(stack.inputs()).requires_grad_()
    cotangent = torch.from_numpy(stack.cotangent())
    wanted = [xs, *lstm.parameters()]

    def step():
        loss = (lstm(xs)[0] * cotangent).sum()
        return loss, torch.autograd.grad(loss, wanted)

    loss, gradients = step()
    found = {"loss": loss.item(), "input_gradient": float(gradients[0].norm())}
    serve(step, {"torch": torch.__version__, **found})


if __name__ == "__main__":
    main(*sys.argv[1:])
