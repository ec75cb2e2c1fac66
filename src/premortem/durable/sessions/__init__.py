"""Connections to where durable state is kept: opened when needed, safe under threads and forks, every wait with an end.

A session is of its own, given a path or a URL, or the caller's, given a connection: then whatever is written is part of
the caller's transaction, and `together` is a savepoint in it.
"""

from __future__ import annotations
