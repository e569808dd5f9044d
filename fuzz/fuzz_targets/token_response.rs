//! The answer of a token endpoint: whatever comes, a grant is whole and an error repeats nothing of it.
#![no_main]

use artstore_auth::fuzzing::{grant, refusal};
use artstore_fuzz::json;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((mode, rest)) = data.split_first() else { return };
    if mode % 2 == 0 {
        let scope = if mode % 4 == 0 { vec![] } else { vec!["a".to_owned(), "b".to_owned()] };
        match grant(rest, &scope) {
            Ok((header, seconds)) => {
                let token = header.to_str().expect("ASCII").strip_prefix("Bearer ").expect("a bearer token");
                assert!(!token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic()));
                assert!(header.is_sensitive() && (1..=1_000_000_000).contains(&seconds));
                // Another reader finds the same.
                let Some(body) = json(rest) else { return };
                assert_eq!((body["access_token"].as_str(), body["expires_in"].as_u64()), (Some(token), Some(seconds)));
            }
            Err(error) => assert!(error.detail().is_ascii()),
        }
        return;
    }
    let mut parts = rest.splitn(2, |byte| *byte == b'\n');
    let (retry_after, body) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let status = 300 + u16::from(*mode);
    let error = refusal(status, retry_after, body);
    assert_eq!(error.detail(), format!("the issuer answered {status}"));
});
