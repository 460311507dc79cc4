"""Venice.ai, emulated as its documents describe it."""
