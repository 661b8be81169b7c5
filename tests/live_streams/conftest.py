"""One server process for this folder."""

from tests.live import live_url as live_url
