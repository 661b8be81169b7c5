"""Side-by-side benchmarks: what the product does over HTTP, against the same SQL work by psycopg.

`manage.py bench` runs them on a database and a server of their own. Absolute figures say how fast
this machine is; what is judged are ratios of one interleaved run. Each benchmark is a module with
a `BENCHMARK`, listed in `bench.catalog`.
"""
