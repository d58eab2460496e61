"""A recognizer as its chip stores it: frozen integers, their formats, and the audit."""
