"""What `demo` shows: real processes, a real runner, real sessions, on an organization of its own.

The stage is set by the product's own verbs; from then on everything goes through HTTP.
"""
