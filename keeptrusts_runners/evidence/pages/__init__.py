"""/runners/audit: what was done and what was denied."""
