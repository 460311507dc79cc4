"""What the user wrote: a YAML file comes in, a frozen `Manifest` goes out, or every problem with its place in the file.

load      bytes to plain values by the rules of YAML 1.2, one entry at a time, with the line and column of every node
validate  the values against `schemas/manifest.schema.json`, then against each other; all problems are told together
model     the records that the rest of the program reads

Nothing here touches the network, and nothing outside the manifest's own folder is opened.
"""
