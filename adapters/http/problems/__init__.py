"""Problem responses (RFC 9457): every error of the API in one place."""
