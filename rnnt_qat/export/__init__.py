"""From frozen integers to graphs: `.tflite` files and StableHLO programs."""
