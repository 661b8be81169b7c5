"""Realistic data with valid chains, by COPY, for sizing, demos and benchmarks: `manage.py seed`."""
