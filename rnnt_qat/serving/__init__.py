"""A recognizer as its chip holds it: frozen integers, their formats, and the audit."""
