//! What the fuzz targets reach beyond the public interface. Only there when `cfg(fuzzing)` is set.

/// Whether these are the first bytes of a hello that offers nothing newer than TLS 1.1.
#[must_use]
pub fn offers_only_old_versions(bytes: &[u8]) -> bool {
    crate::hello::offers_only_old_versions(bytes)
}

/// Whether a connection that begins with this byte may be TLS.
#[must_use]
pub const fn may_be_tls(first: u8) -> bool {
    crate::hello::may_be_tls(first)
}
