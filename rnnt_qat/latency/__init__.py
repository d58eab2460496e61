"""Costs of a recognizer on a chip: the vendor's compiler, placement, the CPU's share, tables."""
