"""WHAT IT DID, AND WHAT IT WAS ALLOWED: events, artifacts, permission grants, evidence."""
