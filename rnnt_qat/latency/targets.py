"""The Ethos-U targets that Vela knows."""

from dataclasses import dataclass


@dataclass(frozen=True)
class NpuTarget:
    """One Ethos-U with its memories, as named in Vela's configuration file.

    Attributes:
      name: short name for tables.
      accelerator_config: product and MACs per cycle.
      system_config: clocks and memories of the system.
      memory_mode: assignment of data to memories.
    """

    name: str
    accelerator_config: str
    system_config: str
    memory_mode: str


U55_128 = NpuTarget("u55-128", "ethos-u55-128", "Ethos_U55_High_End_Embedded", "Shared_Sram")
U55_256 = NpuTarget("u55-256", "ethos-u55-256", "Ethos_U55_High_End_Embedded", "Shared_Sram")
U65_512 = NpuTarget("u65-512", "ethos-u65-512", "Ethos_U65_High_End", "Dedicated_Sram")
U85_512 = NpuTarget("u85-512", "ethos-u85-512", "Ethos_U85_SYS_DRAM_Mid", "Dedicated_Sram_384KB")
TARGETS = (U55_128, U55_256, U65_512, U85_512)
