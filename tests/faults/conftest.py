"""One server process for this folder, for who asks for it."""

from tests.live import live_url as live_url
