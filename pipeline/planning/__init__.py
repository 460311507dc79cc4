"""What the manifest amounts to: items with stable ids, their fingerprints, their inputs and their cost.

A checked `Manifest` and the providers' pure checks come in; a `Plan` comes out, or every problem at once, each with its
place in a file of the user's. Nothing here sends anything, and only the user's own folder is read.
"""
