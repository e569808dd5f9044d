//! Reference pages, process metrics and operations documents, from the families that the crates declare.
