"""/runners: the fleet at a glance, and each profile."""
