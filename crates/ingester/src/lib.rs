//! The Ingester Module: checks the client, chooses an element, streams, answers.
