"""Export of frozen integers: `.tflite` graphs and StableHLO programs."""
