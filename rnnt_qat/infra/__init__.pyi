from .config import (
    TYPE as TYPE,
)
from .config import (
    ConfigError as ConfigError,
)
from .config import (
    class_path as class_path,
)
from .config import (
    config_dict as config_dict,
)
from .config import (
    config_of as config_of,
)
from .config import (
    field_paths as field_paths,
)
from .config import (
    from_config_dict as from_config_dict,
)
from .config import (
    from_json as from_json,
)
from .config import (
    require_at_least as require_at_least,
)
from .config import (
    to_json as to_json,
)
from .config import (
    unknown_field_message as unknown_field_message,
)
from .config import (
    upgraded as upgraded,
)
from .console import Console as Console
from .console import format_duration as format_duration
from .durable_files import (
    changed_files as changed_files,
)
from .durable_files import (
    checksums as checksums,
)
from .durable_files import (
    is_partial as is_partial,
)
from .durable_files import (
    replaced_folder as replaced_folder,
)
from .durable_files import (
    write_text as write_text,
)
from .errors import UserError as UserError
from .host_memory import keep_freed_memory as keep_freed_memory
from .mesh import (
    DATA_AXIS as DATA_AXIS,
)
from .mesh import (
    global_batch as global_batch,
)
from .mesh import (
    make_mesh as make_mesh,
)
from .mesh import (
    place_state as place_state,
)
from .mesh import (
    replicated as replicated,
)
from .mesh import (
    rows_sharding as rows_sharding,
)
from .mesh import (
    state_shardings as state_shardings,
)
from .mesh import (
    summed_over_shards as summed_over_shards,
)
from .mesh import (
    to_host as to_host,
)
from .signal_watch import (
    SignalWatch as SignalWatch,
)
from .signal_watch import (
    end_process as end_process,
)
from .signal_watch import (
    exit_code_of as exit_code_of,
)
from .signal_watch import (
    name_of as name_of,
)
from .workdir_lock import locked as locked
