"""/runners/members and /runners/service-accounts: who may do what, for admins."""
