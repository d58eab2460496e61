"""One experiment: its config, the task that is trained, the runner, and the recognizer it saves."""
