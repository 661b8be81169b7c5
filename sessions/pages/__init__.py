"""/runners/sessions: the lists, one session whole, and what operators may do to it."""
