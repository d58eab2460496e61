"""Encoder, prediction network, joint, and their assembly."""
