"""What no recognizer is about: devices, memory, configs, console, provenance."""
