"""The API of events, artifacts, permission grants and evidence."""
