"""Sites of a layer: its tensors by name, each with the role that decides its format."""

from rnnt_qat.accelerators.roles import Role as Role

Sites = dict[str, Role]
