"""The documents are followed against a running server."""

from tests.live import live_url

__all__ = ["live_url"]
