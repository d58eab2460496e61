from .cells import measure as measure
from .cells import results_of as results_of
from .chip_comparison import (
    ChipComparisonConfig as ChipComparisonConfig,
)
from .chip_comparison import (
    compare_on_chips as compare_on_chips,
)
from .chip_report import write_chip_report as write_chip_report
from .comparison import (
    compare_recognizers as compare_recognizers,
)
from .comparison import (
    write_comparison as write_comparison,
)
from .deployment import load_systems as load_systems
from .deployment import require_a_chip as require_a_chip
from .diagnosis import diagnose as diagnose
from .diagnosis import write_diagnosis as write_diagnosis
from .grid import (
    NOTES as NOTES,
)
from .grid import (
    Row as Row,
)
from .grid import (
    grid_rows as grid_rows,
)
from .grid import (
    markdown_grid as markdown_grid,
)
from .grid import (
    pool as pool,
)
from .grid import (
    write_csv as write_csv,
)
from .precision_map import policies as policies
from .precision_map import write_map as write_map
from .sweep import (
    FLOAT as FLOAT,
)
from .sweep import (
    SweepConfig as SweepConfig,
)
from .sweep import (
    require_one_config as require_one_config,
)
