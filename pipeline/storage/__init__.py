"""Object stores: whole files come in; each is there under a name of its own, verified, or it is not there at all.

A name that is taken is never written over. What is found under it is either the same bytes, and then taken as ours, or
somebody else's, and then left alone.
"""
