"""One file a command: its options and its help, and nothing that another command needs."""
