"""auth: identities, tokens and revocation."""
