//! Every query that the project ships, on real engines over a real `artstore up`; and what strangers can make of its series.
#![expect(
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "tests, and helpers of tests: what fails here fails the test"
)]

mod agreement;
mod corpus;
mod evaluator;
mod functions;
mod hostile;
mod live;
#[path = "../../../ops/tests/it/pages.rs"]
mod pages;
mod samples;
mod stranger;
mod trouble;
mod vectors;
mod victoria;
mod workload;
