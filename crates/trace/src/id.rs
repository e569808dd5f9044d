//! Identifiers of traces and spans: bytes that are not all zero, written in lower-case hexadecimal digits.

use std::fmt;
use uuid::Uuid;

/// Reads lower-case hexadecimal digits, and nothing else.
pub(crate) fn from_hex<const N: usize>(text: &[u8]) -> Option<[u8; N]> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let mut bytes = [0; N];
    if text.len() != N * 2 {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(text.as_chunks::<2>().0) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(bytes)
}

macro_rules! identifier {
    ($(#[$meta:meta])* $name:ident, $length:literal) => {
        $(#[$meta])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash)]
        pub struct $name([u8; $length]);

        impl $name {
            /// The identifier that these digits are; `None` if they are none, or all zero.
            #[must_use]
            pub fn from_hex(text: &[u8]) -> Option<Self> {
                from_hex(text).filter(|bytes| *bytes != [0; $length]).map(Self)
            }

            /// The identifier's bytes.
            #[must_use]
            pub const fn as_bytes(&self) -> &[u8; $length] {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
    };
}

identifier! {
    /// The identifier of a trace.
    TraceId, 16
}

identifier! {
    /// The identifier of a span.
    SpanId, 8
}

impl TraceId {
    /// A new one. Its last seven bytes are random, as the flag `random` says.
    #[must_use]
    pub fn generate() -> Self {
        // Never all zero: its version is not.
        Self(Uuid::new_v4().into_bytes())
    }

    /// The last seven bytes, by which traces are sampled.
    pub(crate) fn randomness(self) -> u64 {
        let mut bytes = [0; 8];
        bytes[1..].copy_from_slice(&self.0[9..]);
        u64::from_be_bytes(bytes)
    }
}

impl SpanId {
    /// A new one.
    #[must_use]
    pub fn generate() -> Self {
        let random = Uuid::new_v4().into_bytes();
        let mut bytes = [0; 8];
        // Without the bytes of its version and variant, but for the last, which are never all zero.
        bytes.copy_from_slice(&random[8..]);
        bytes[0] = random[0];
        if bytes == [0; 8] { Self([1; 8]) } else { Self(bytes) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_lower_case_of_the_length_and_not_all_zero() {
        let id = TraceId::from_hex(b"0af7651916cd43dd8448eb211c80319c").unwrap();
        assert_eq!(id.as_bytes()[..4], [0x0a, 0xf7, 0x65, 0x19]);
        assert_eq!((id.to_string(), format!("{id:?}")), (format!("{id:?}"), "0af7651916cd43dd8448eb211c80319c".into()));
        for wrong in [
            &b"0AF7651916CD43DD8448EB211C80319C"[..],
            b"0af7651916cd43dd8448eb211c80319",
            b"0af7651916cd43dd8448eb211c80319c0",
            b"00000000000000000000000000000000",
            b"0af7651916cd43dd8448eb211c80319g",
            b"0af7651916cd43dd8448eb211c80319\xff",
            b"",
        ] {
            assert_eq!(TraceId::from_hex(wrong), None, "{wrong:?}");
        }
        assert_eq!(SpanId::from_hex(b"0000000000000000"), None);
        assert_eq!(SpanId::from_hex(b"0000000000000001").unwrap().to_string(), "0000000000000001");
    }

    #[test]
    fn new_identifiers_differ_and_read_back() {
        let (trace, span) = (TraceId::generate(), SpanId::generate());
        assert_ne!((trace, span), (TraceId::generate(), SpanId::generate()));
        assert_eq!(TraceId::from_hex(trace.to_string().as_bytes()), Some(trace));
        assert_eq!(SpanId::from_hex(span.to_string().as_bytes()), Some(span));
    }

    #[test]
    fn a_trace_is_sampled_by_its_last_seven_bytes() {
        let id = TraceId::from_hex(b"ffffffffffffffffff00000000000102").unwrap();
        assert_eq!(id.randomness(), 0x0102);
        let id = TraceId::from_hex(b"000000000000000000ffffffffffffff").unwrap();
        assert_eq!(id.randomness(), (1 << 56) - 1);
    }
}
