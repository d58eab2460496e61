"""One experiment: config, training task, runner, and the recognizer that results from it."""
