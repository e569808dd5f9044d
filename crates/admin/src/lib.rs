//! The Admin Module: issues tokens, publishes keys, keeps accounts, the list of elements and the index of files.
