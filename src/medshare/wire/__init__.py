"""The relay protocol as values: routes, limits, codes, and the small bodies on the wire.

Pure: client and server are written against these pages, and docs/relay-protocol.md says
the same for people.  A path has exactly one spelling, a body one encoding; whatever differs
is refused, so that nothing is signed as one thing and read as another.
"""
