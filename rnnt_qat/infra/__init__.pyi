from .config import (
    TYPE,
    ConfigError,
    class_path,
    field_paths,
    from_json,
    require_at_least,
    to_json,
    unknown_field_message,
    upgraded,
)
from .config_overrides import config_dict, config_of, from_config_dict
from .console import Console, format_duration
from .durable_files import changed_files, checksums, is_partial, replaced_folder, write_text
from .errors import UserError
from .host_memory import keep_freed_memory
from .mesh import (
    DATA_AXIS,
    global_batch,
    make_mesh,
    place_state,
    replicated,
    rows_sharding,
    state_shardings,
    summed_over_shards,
    to_host,
)
from .signal_watch import SignalWatch, end_process, exit_code_of, name_of
from .workdir_lock import locked

__all__ = [
    "DATA_AXIS",
    "TYPE",
    "ConfigError",
    "Console",
    "SignalWatch",
    "UserError",
    "changed_files",
    "checksums",
    "class_path",
    "config_dict",
    "config_of",
    "end_process",
    "exit_code_of",
    "field_paths",
    "format_duration",
    "from_config_dict",
    "from_json",
    "global_batch",
    "is_partial",
    "keep_freed_memory",
    "locked",
    "make_mesh",
    "name_of",
    "place_state",
    "replaced_folder",
    "replicated",
    "require_at_least",
    "rows_sharding",
    "state_shardings",
    "summed_over_shards",
    "to_host",
    "to_json",
    "unknown_field_message",
    "upgraded",
    "write_text",
]
