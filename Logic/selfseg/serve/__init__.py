"""A warm process that segments on request, and the client that owns it.

    client  ->  one JSON line per request   ->  worker
    client  <-  one JSON line per message   <-  worker

`client` and what it imports (`tasks`, `restarts`, `endings`, `child_process`, `messages`, `wire`,
`strict`, `lines`) need Python's standard library and `selfseg.domain` alone: Slicer's own Python
runs them before anything is installed.
The protocol is written down in docs/reference/worker-protocol.md.
"""
