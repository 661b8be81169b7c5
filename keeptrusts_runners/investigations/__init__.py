"""INVESTIGATIONS: what the admin's pages share. Staff look across organizations and change nothing;
each look is on the record of those that were looked at."""
