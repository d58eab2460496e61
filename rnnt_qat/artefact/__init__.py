"""The integer artefact: arrays and formats, their folder, and a NumPy player."""
