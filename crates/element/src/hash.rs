//! A SHA-256 whose state can be put away with an offset and taken up again.

use http_body_util::BodyExt as _;
use sha2::digest::common::hazmat::{SerializableState, SerializedState};
use sha2::{Digest, Sha256};

/// Bytes of a [`RunningHash::state`].
pub(crate) const STATE_BYTES: usize = size_of::<SerializedState<Sha256>>();

/// A hash of the bytes so far.
#[derive(Clone, Default)]
pub(crate) struct RunningHash(Sha256);

impl RunningHash {
    /// Takes in more bytes.
    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// Lower-case hexadecimal of the hash of all bytes so far; more may follow.
    pub(crate) fn hex(&self) -> String {
        hex(&self.0.clone().finalize())
    }

    /// What [`restore`](Self::restore) needs to go on from here.
    pub(crate) fn state(&self) -> [u8; STATE_BYTES] {
        let mut state = [0; STATE_BYTES];
        state.copy_from_slice(&self.0.serialize());
        state
    }

    /// The hash that had this state; `None` if it is not one.
    pub(crate) fn restore(state: &[u8]) -> Option<Self> {
        let state = SerializedState::<Sha256>::try_from(state).ok()?;
        Sha256::deserialize(&state).ok().map(Self)
    }
}

impl std::fmt::Debug for RunningHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RunningHash")
    }
}

/// Length and hash of a body that is not kept; `None` if it breaks off or is longer than `limit`.
pub(crate) async fn of_body(mut body: axum::body::Body, limit: usize) -> Option<(u64, String)> {
    let (mut hash, mut length) = (RunningHash::default(), 0_usize);
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.ok()?.into_data() else { continue };
        length = length.checked_add(data.len()).filter(|length| *length <= limit)?;
        hash.update(&data);
    }
    Some((length as u64, hash.hex()))
}

/// Lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]).map(|nibble| char::from(DIGITS[usize::from(nibble)])).collect()
}

/// The bytes that this hexadecimal text stands for.
pub(crate) fn unhex(text: &str) -> Option<Vec<u8>> {
    let nibble = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if !rest.is_empty() {
        return None;
    }
    pairs.iter().map(|[high, low]| Some(nibble(*high)? << 4 | nibble(*low)?)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_restored_hash_goes_on_where_it_was() {
        let (mut whole, mut first) = (RunningHash::default(), RunningHash::default());
        whole.update(b"abc");
        assert_eq!(whole.hex(), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        first.update(b"a");
        let mut second = RunningHash::restore(&first.state()).unwrap();
        second.update(b"bc");
        assert_eq!(second.hex(), whole.hex());
    }

    #[test]
    fn what_is_no_state_is_refused() {
        assert!(RunningHash::restore(&[0; STATE_BYTES - 1]).is_none());
        assert!(RunningHash::restore(&[255; STATE_BYTES]).is_none());
    }

    #[test]
    fn hexadecimal_reads_back() {
        assert_eq!(hex(&[0, 0x9f, 0xff]), "009fff");
        assert_eq!(unhex("009fff"), Some(vec![0, 0x9f, 0xff]));
        assert_eq!(unhex("009ff"), None);
        assert_eq!(unhex("zz"), None);
    }
}
