"""PROOF: hash chain, signing keys, signed bundles, and the verifier that needs none of us.

Knows nothing of the domain: it chains, signs and proves bytes that others hand over.
"""
