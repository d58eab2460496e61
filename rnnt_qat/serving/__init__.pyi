from .formats import tensor_rows, text_table
from .freeze import frozen_variables
from .size import model_bytes

__all__ = ["frozen_variables", "model_bytes", "tensor_rows", "text_table"]
