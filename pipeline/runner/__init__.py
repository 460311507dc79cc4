"""Making it so: one process that takes a batch as far as it can go, and can be stopped at any instant.

`batch.run_batch` is where to begin reading: recover, then one lane a provider (submit, look, collect), then the end.
Decisions are made synchronously; effects follow. Only here is it decided what an answer means for money.
"""
