"""The rule that ends a stage early: its validation error no longer falls."""

from collections.abc import Sequence


def plateaued(errors: Sequence[float], patience: int) -> bool:
    """Returns whether none of the last evaluations was better than the best one before them.

    Args:
      errors: validation error of each evaluation of a stage, in order.
      patience: number of last evaluations, >= 1.
    """
    return len(errors) > patience and min(errors[-patience:]) >= min(errors[:-patience])
