//! OAuth 2.0 client credentials: a service that keeps one token, a verifier for incoming ones, and their metrics.
