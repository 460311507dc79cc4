"""ModelMax: a queue whose result call bills."""
