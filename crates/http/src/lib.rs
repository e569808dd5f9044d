//! A pooled mutual-TLS HTTP client, a server loop with limits and draining, and the operations router.
