"""WHERE work may run: runner profiles and the harness revisions pinned to them."""
