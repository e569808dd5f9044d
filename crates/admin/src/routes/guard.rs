//! What every request of the module's own API passes first: its bearer's token, then its body.

use super::body;
use super::refused::Refused;
use crate::metrics::Refusal;
use crate::module::Admin;
use crate::token_request::has_media_type;
use artstore_auth::{Claims, Rejection};
use artstore_metrics::Clock;
use axum::body::Body;
use axum::extract::Query;
use http::{HeaderMap, Uri};
use serde::de::DeserializeOwned;

impl<C: Clock> Admin<C> {
    /// The claims of the bearer, whose token must be for this module and have this scope.
    pub(crate) async fn authorize(&self, headers: &HeaderMap, scope: &str) -> Result<Claims, Refused> {
        self.shared.verifier.authenticate(headers, scope).await.map_err(|rejection| {
            self.shared.metrics.refused(match &rejection {
                Rejection::MissingToken | Rejection::InvalidToken(_) => Refusal::Unauthorized,
                Rejection::InsufficientScope { .. } => Refusal::Forbidden,
                Rejection::KeysUnavailable => Refusal::Unchecked,
            });
            rejection.into()
        })
    }

    /// The JSON of a body of at most `limit` bytes.
    pub(crate) async fn read_json<T: DeserializeOwned>(
        &self,
        headers: &HeaderMap,
        body: Body,
        limit: usize,
    ) -> Result<T, Refused> {
        if !has_media_type(headers, "application/json") {
            return Err(self.invalid("Content-Type must be application/json"));
        }
        let bytes = body::read(body, limit, self.shared.settings.body_timeout).await.map_err(|error| {
            self.shared.metrics.refused(Refusal::Invalid);
            Refused::body(error, limit)
        })?;
        serde_json::from_slice(&bytes).map_err(|error| self.invalid(format!("body: {error}")))
    }

    /// The query's parameters.
    pub(crate) fn read_query<T: DeserializeOwned>(&self, uri: &Uri) -> Result<T, Refused> {
        match Query::try_from_uri(uri) {
            Ok(Query(query)) => Ok(query),
            Err(rejection) => Err(self.invalid(rejection.body_text())),
        }
    }

    /// A refusal of something that the client sent, counted.
    pub(crate) fn invalid(&self, detail: impl Into<String>) -> Refused {
        self.shared.metrics.refused(Refusal::Invalid);
        Refused::invalid(detail)
    }
}
