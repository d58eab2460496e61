from .page import Audio, load_and_write, write_page
from .stored_run import StoredRun, save_curves

__all__ = ["Audio", "StoredRun", "load_and_write", "save_curves", "write_page"]
