from .plots import (
    COLOURS as COLOURS,
)
from .plots import (
    FAINT as FAINT,
)
from .plots import (
    INK as INK,
)
from .plots import (
    plot_emissions as plot_emissions,
)
from .plots import (
    plot_heat_map as plot_heat_map,
)
from .plots import (
    plot_training_curves as plot_training_curves,
)
from .plots import (
    plot_wer_bars as plot_wer_bars,
)
from .report import (
    by_test_set as by_test_set,
)
from .report import (
    compare as compare,
)
from .report import (
    load_result as load_result,
)
from .report import (
    markdown_table as markdown_table,
)
from .report import (
    save_result as save_result,
)
from .report import (
    write_report as write_report,
)
from .result import EvaluationResult as EvaluationResult
from .result import UtteranceResult as UtteranceResult
from .streaming_evaluator import (
    EvaluationConfig as EvaluationConfig,
)
from .streaming_evaluator import (
    StreamingEvaluator as StreamingEvaluator,
)
