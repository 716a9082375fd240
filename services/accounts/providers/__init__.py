"""Providers of identities: any OpenID Connect issuer, Apple, and Steam."""
