"""Flags that choose the policies of a sweep."""

from collections.abc import Callable

from absl import flags

from rnnt_qat.quant.ablation import ablations
from rnnt_qat.quant.grammar import split_policies
from rnnt_qat.quant.policies import policy_by_name, policy_choices
from rnnt_qat.studies.sweep import SweepConfig

flags.disclaim_key_flags()  # they are the program's, in its `--help`


def define_policies() -> tuple[Callable[[], tuple[str, ...]], flags.FlagHolder]:
    """Defines ``--policies``, ``--ablate`` and ``--map``.

    Returns:
      A function that returns the policies given by the flags, and raises ValidationError if one is
      invalid; and ``--map``.
    """
    given = flags.DEFINE_string(
        "policies",
        None,
        "Policies (README has the grammar) with commas between them; one with choices, e.g. "
        "'generic_nna{gate.unit=[plan,hard], cell.bits=[16,8]}', stands for all their "
        f"combinations. Default: {','.join(SweepConfig.policies)}.",
    )
    ablate = flags.DEFINE_string(
        "ablate", None, "In place of --policies: this policy, and each of its parts alone."
    )
    base = flags.DEFINE_string(
        "map",
        None,
        "In place of --policies: this chip, and it with one field at a time degraded.",
    )

    def policies() -> tuple[str, ...]:
        if sum(flag.value is not None for flag in (ablate, given, base)) > 1:
            raise flags.ValidationError("give --policies, --ablate or --map, not two of them")
        try:
            if base.value is not None:
                from rnnt_qat.studies.precision_map import policies as along_axes  # slow import

                return along_axes(base.value)
            if ablate.value is not None:
                return _ablated(ablate.value)
            lines = split_policies(given.value or ",".join(SweepConfig.policies))
            found = [str(policy) for line in lines for policy in policy_choices(line)]
            return tuple(dict.fromkeys(found))
        except ValueError as error:
            raise flags.ValidationError(str(error)) from None

    return policies, base


def _ablated(line: str) -> tuple[str, ...]:
    """Returns a policy and each of its parts alone, with the same changes.

    Raises:
      ValueError: if it is no policy.
    """
    policy_by_name(line)
    whole, plus, changes = line.partition("+")
    names = (whole, *(policy.name for policy in ablations(policy_by_name(whole))))
    return tuple(name for name in (f"{name}{plus}{changes}" for name in names) if _is_policy(name))


def _is_policy(name: str) -> bool:
    """Returns whether a name is a valid policy.

    It is not if a change for layers on a chip is applied to a part without any.
    """
    try:
        policy_by_name(name)
    except ValueError:
        return False
    return True
