//! Tests of the operations documents: they are current, every query in them means something, every alert does what it says.

#![expect(clippy::unwrap_used, clippy::panic, reason = "these are tests")]

mod alertmanager;
mod cases;
mod committed;
mod dashboard;
mod documents;
mod lint;
mod lint_selector;
mod lint_tests;
mod linter;
mod linter_rules;
mod mutants;
mod mutation;
mod pages;
mod profile;
mod promtool;
mod worked;
