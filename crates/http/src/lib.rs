//! A pooled mutual-TLS HTTP client, a server loop with limits and draining, and the operations router.
//!
//! - [`Client`] sends requests over HTTP/1.1, plain or TLS, from a pool of its own whose accounting is exact (why its own:
//!   `docs/decisions/0001-own-connection-pool.md`). [`body`] makes request bodies.
//! - [`Server`] serves an axum router on a listener: TLS or plain, HTTP/1.1 and HTTP/2, limits, time-outs, request ids, access
//!   log, draining.
//! - [`operations_router`] is what an operations listener serves; [`health`] is what a module says about itself.
//! - [`trace`] makes spans of requests and exports them.
//! - [`problem`] turns problem documents into responses; [`process`] measures the process.
//!
//! What this crate never does: know what a token is.

pub mod body;
mod client;
pub mod health;
pub mod metrics;
mod operations;
pub mod problem;
pub mod process;
mod server;
#[cfg(test)]
mod testing;
pub mod trace;

pub use body::{Body, BoxError};
pub use client::{Client, ClientError, ClientErrorKind, ClientSettings, ResponseBody, ResponseTimeout};
pub use health::{Dependency, Health, HealthReport, Status};
pub use metrics::{HttpClientMetrics, Listener, ServerMetrics, TraceMetrics};
pub use operations::{escape_html, health_router, operations_router};
pub use problem::{ProblemResponse, RequestId};
pub use server::{Drained, PLAIN_HTTP_ANSWER, PeerInfo, Server, ServerSettings};
