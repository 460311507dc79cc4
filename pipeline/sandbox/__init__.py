"""The providers, emulated: an aiohttp server that speaks their wire formats as documented and keeps its own bill.

    settings    how it behaves: speed, seed, faults, limits, prices
    catalogue   the models it knows and what each accepts
    state       jobs, charges and counts, in SQLite, so that a killed rehearsal goes on
    app         make_app (for tests and simulations) and serve (for the command)

ModelMax answers at `http://127.0.0.1:PORT`, Venice at `http://127.0.0.1:PORT/api/v1`, the OpenAI-style videos API at
`http://127.0.0.1:PORT/openai/v1`. `GET /sandbox/bill` and `GET /sandbox/requests` tell what was charged and what was
asked, with no key.

Any bearer token is a key and owns the jobs that it makes, with four exceptions that rehearse what keys do:
`bad-…` is refused (401), `poor-…` has no money (402), a token with `ADMIN` in it may read Venice's billing pages, and
no token at all is what the vendor makes of it (401 at ModelMax, 402 at Venice, let in at the OpenAI-style API).

Two phrases in a prompt decide its outcome: `[sandbox: refuse]` is refused at submit (Venice 422, the others 400), and
`[sandbox: fail]` is accepted and fails in the end as a refusal of content.

The package reaches nothing of clipmill but its errors and effects: it is written from the vendors' documents alone, so
that a misreading in a provider shows against it.
"""
