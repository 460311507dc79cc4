"""What a person orders beside a run: to settle, to try again, to repair, to export. Each has an epoch of its own."""
