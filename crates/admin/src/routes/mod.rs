//! The HTTP interface: which path is whose, and how bodies are read.

mod body;
mod metadata;
mod problem;
mod token;

use crate::module::Admin;
use artstore_metrics::Clock;
use axum::Router;
use axum::routing::{get, post};

impl<C: Clock> Admin<C> {
    /// The module's routes.
    pub fn router(&self) -> Router {
        Router::new()
            .route("/oauth2/token", post(token::oauth::<C>))
            .route("/oauth2/jwks", get(metadata::jwks::<C>))
            .route("/.well-known/oauth-authorization-server", get(metadata::authorization_server::<C>))
            .route("/api/v1/auth/token", post(token::json::<C>))
            .with_state(self.clone())
    }
}
