"""Verification of JSON Web Tokens (RFC 7519): the signature, the claims, and the keys of an issuer."""
