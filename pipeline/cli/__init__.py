"""The front door: one file a command, and the only place that starts an event loop or prints."""
