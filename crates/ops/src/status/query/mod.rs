//! The part of PromQL that our own rules and dashboard are written in, read and evaluated over what this process remembers.
//!
//! The page judges by the very text of the rules that Prometheus gets, so the two cannot have different thresholds. What is
//! exact here is estimated there: a counter's growth is the difference of two readings, not extrapolated to the window's edges.

mod evaluate;
mod lex;
mod parse;
mod quantile;

pub(super) use evaluate::Evaluation;
pub(super) use parse::{Expression, Labels, hold};

#[cfg(test)]
mod tests;
