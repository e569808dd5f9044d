//! What every request of the module's own API passes first: its bearer's token, then its body.

use super::body;
use super::refused::Refused;
use crate::authenticate::Peer;
use crate::metrics::Refusal;
use crate::module::Admin;
use crate::token_request::has_media_type;
use artstore_api::Code;
use artstore_auth::{Claims, Rejection};
use artstore_metrics::Clock;
use axum::body::Body;
use axum::extract::Query;
use http::request::Parts;
use http::{HeaderMap, Uri};
use serde::de::DeserializeOwned;

impl<C: Clock> Admin<C> {
    /// The claims of the bearer, whose token must be for this module and have this scope, and must be bound to no other
    /// certificate than the connection's.
    pub(crate) async fn authorize(&self, parts: &Parts, scope: &str) -> Result<Claims, Refused> {
        let peer = Peer::of(&parts.extensions);
        let certificate = peer.certificate().map(|shown| &shown.sha256_fingerprint);
        self.shared.verifier.authenticate_over(&parts.headers, scope, certificate).await.map_err(|rejection| {
            self.shared.metrics.refused(match &rejection {
                Rejection::MissingToken | Rejection::InvalidToken(_) => Refusal::Unauthorized,
                Rejection::InsufficientScope { .. } => Refusal::Forbidden,
                Rejection::KeysUnavailable => Refusal::Unchecked,
            });
            rejection.into()
        })
    }

    /// Refuses a bearer whose account is bound to another element.
    pub(crate) async fn authorize_element(&self, claims: &Claims, element_id: &str) -> Result<(), Refused> {
        let account = self.shared.noted(self.shared.store.account(&claims.client_id).await)?;
        let bound = account.and_then(|found| found.account.element_id);
        if bound.is_none_or(|own| own == element_id) {
            return Ok(());
        }
        self.shared.metrics.refused(Refusal::Forbidden);
        Err(Refused::new(Code::Forbidden, "the account may report for its own element only"))
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
