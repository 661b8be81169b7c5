"""Shared API plumbing: everything a route needs that says nothing about profiles or sessions."""
