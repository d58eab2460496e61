"""Uses of the library from other projects; each file runs by itself."""
