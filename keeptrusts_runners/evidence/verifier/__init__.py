"""The verifier of bundles: the standard library alone, and one file when built.

`build.py` joins these modules, and chain, dsse, jwk and layout beside them, into a single file of
plain Python that an auditor can read and run. So they import each other's names, and never each
other, and no two of them define the same name.
"""
