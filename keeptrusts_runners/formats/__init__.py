"""How the admin writes values; the console has formats of its own (console/formats.py)."""
