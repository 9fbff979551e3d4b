"""Signing in on the web: a page, sessions in cookies, and an identity provider where there is one (OpenID Connect)."""
