from .formats import tensor_rows as tensor_rows
from .formats import text_table as text_table
from .freeze import frozen_variables as frozen_variables
from .size import model_bytes as model_bytes
