"""Infrastructure without knowledge of recognizers: devices, configs, console, provenance."""
