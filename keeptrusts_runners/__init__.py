"""Keeptrusts Runners: autonomous work as governed sessions, with evidence that verifies offline.

The package itself imports nothing, so that the bootstrap and the embedded database can use it
before anything is installed.
"""
