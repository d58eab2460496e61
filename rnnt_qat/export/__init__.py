"""From a trained model to integers, .tflite, runtimes, a compiler's latency."""
