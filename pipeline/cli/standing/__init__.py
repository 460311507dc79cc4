"""How a batch stands, and what a run of it would do; nothing is written."""
