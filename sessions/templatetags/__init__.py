"""Template tag libraries of sessions."""
