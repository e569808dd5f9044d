//! Tests of the operations documents: they are current, every query in them means something, every alert does what it says.

mod committed;
mod lint;
mod lint_selector;
mod lint_tests;
