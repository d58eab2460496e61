"""Run by ``test_factored.py`` on simulated devices: both losses, batch cut over a mesh."""

import math
import re

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from tests.losses.heads import FloatHead, random_head
from tests.losses.test_factored import assert_same_step, factored_step, random_batch, whole_step


def main():
    devices = jax.devices()
    assert len(devices) == 4
    mesh = Mesh(np.asarray(devices), ("data",))
    B, T, J = 8, 64, 16
    head, batch = random_head(FloatHead, 0, J, 11), random_batch(0, B, T, 12, J, 11)
    on_mesh = jax.device_put(head, NamedSharding(mesh, PartitionSpec()))
    cut = jax.device_put(batch, NamedSharding(mesh, PartitionSpec("data")))
    one = factored_step(head, *batch)
    assert_same_step(whole_step(on_mesh, *cut), one)
    for batch_shards in (1, 2, 4):  # the right number is 4; the others must still be correct
        assert_same_step(factored_step(on_mesh, *cut, batch_shards=batch_shards), one)

    compiled = factored_step.lower(on_mesh, *cut, batch_shards=4).compile().as_text()
    moved = re.findall(r"= (.*?) (?:all-gather|all-to-all|collective-permute)\(", compiled)
    sizes = [
        math.prod(int(n) for n in shape.split(",") if n)
        for m in moved
        for shape in re.findall(r"\[([\d,]*)\]", m)
    ]
    assert max(sizes, default=0) < B * T, f"moved between devices: {moved}"
    # Parameters' gradients are added up once, in the entry computation, not in the loop.
    loops = compiled[: compiled.index("ENTRY")]
    assert not re.search(r" all-reduce\(", loops), "devices wait for each other in every turn"


main()
