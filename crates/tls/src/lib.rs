//! Instrumented mutual TLS on rustls: identity, trust, connector, listener, certificate monitor, error taxonomy.
