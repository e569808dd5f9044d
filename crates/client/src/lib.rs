//! Uploading and resuming, as a library.
