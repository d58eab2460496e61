"""What a chip does, as frozen specifications: one file a chip."""
