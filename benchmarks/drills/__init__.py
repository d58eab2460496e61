"""Drills of reliability, a module each: ``run`` counts cases and faults."""
