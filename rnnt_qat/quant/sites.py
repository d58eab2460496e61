"""The sites of a layer: its tensors by name, each with the role that a precision turns into a format."""

from rnnt_qat.accelerators.roles import Role as Role

Sites = dict[str, Role]
