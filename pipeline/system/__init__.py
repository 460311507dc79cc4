"""What the system does for the program: the real effects, each as `effects` promises it."""
