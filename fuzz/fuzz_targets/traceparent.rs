//! Trace context from outside: whatever is taken is written as the specification has it, reads back as itself, and is bounded.
#![no_main]

use artstore_trace::Context;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    // The first line is `traceparent`, each further one a `tracestate`.
    let mut lines = data.split(|byte| *byte == b'\n');
    let parent = lines.next().unwrap_or_default();
    let Some(context) = Context::parse([parent], lines) else { return };
    let written = context.traceparent();
    assert_eq!(written.len(), 55);
    let state = context.state().unwrap_or_default();
    assert!(state.len() <= 512 && state.split(',').count() <= 32);
    assert!(state.bytes().all(|byte| matches!(byte, b' '..=b'~')), "{state:?}");
    assert_eq!(Context::parse([written.as_bytes()], [state.as_bytes()]).as_ref(), Some(&context));
});
