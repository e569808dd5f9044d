//! Tokens as an element sees them that refuses each of them once.

use http::HeaderValue;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::{Mutex, PoisonError};

/// Most tokens that are remembered.
const MOST: usize = 1_024;

/// How often each token has been used, as far as it matters. The tokens themselves are not kept.
#[derive(Debug, Default)]
pub(super) struct SeenTokens(Mutex<HashMap<u64, Uses>>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Uses {
    Once,
    More,
}

impl SeenTokens {
    /// Whether this use of a token is the one that is refused: its second.
    pub(super) fn refuses(&self, authorization: &HeaderValue) -> bool {
        let mut hasher = DefaultHasher::new();
        authorization.as_bytes().hash(&mut hasher);
        let mut tokens = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if tokens.len() >= MOST {
            tokens.clear();
        }
        match tokens.entry(hasher.finish()) {
            Entry::Vacant(token) => {
                token.insert(Uses::Once);
                false
            }
            Entry::Occupied(mut token) => token.insert(Uses::More) == Uses::Once,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_token_is_refused_at_its_second_use_and_never_again() {
        let tokens = SeenTokens::default();
        let (one, two) = (HeaderValue::from_static("Bearer 1"), HeaderValue::from_static("Bearer 2"));
        let refused = [&one, &one, &two, &one, &two, &two].map(|token| tokens.refuses(token));
        assert_eq!(refused, [false, true, false, false, true, false]);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let tokens = SeenTokens::default();
        for number in 0..3 * MOST {
            let token = HeaderValue::from_str(&format!("Bearer {number}")).unwrap();
            assert!(!tokens.refuses(&token));
            assert!(tokens.0.lock().unwrap().len() <= MOST);
        }
    }
}
