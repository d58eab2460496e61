"""English speech of any length, made offline by speech synthesizers: telephone prompts or books."""
