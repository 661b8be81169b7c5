"""Pages of grants, events, artifacts and evidence: /runners/approvals and below a session."""
