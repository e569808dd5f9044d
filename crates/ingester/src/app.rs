//! What all handlers share: who may, how a failure is answered and counted, where a file is.

use crate::directory::{Directory, List};
use crate::element::{ElementError, Elements};
use crate::failure::Failure;
use crate::metrics::IngesterMetrics;
use crate::peer::{Ask, PeerError, Peers};
use crate::pipeline::UploadPipeline;
use crate::settings::IngesterSettings;
use crate::source::{ClientBody, Linger};
use artstore_api::Code;
use artstore_api::file::{FileId, FileRecord, IndexedFile};
use artstore_auth::{Claims, Rejection, TokenVerifier};
use artstore_http::{PeerInfo, ProblemResponse};
use artstore_metrics::Clock;
use axum::body::Body;
use axum::response::{IntoResponse as _, Response};
use futures_util::StreamExt as _;
use http::header::{EXPECT, RETRY_AFTER, WWW_AUTHENTICATE};
use http::request::Parts;
use http::{HeaderValue, Method, StatusCode};
use std::sync::Arc;
use tokio::sync::{Semaphore, SemaphorePermit};

/// The state of the router.
pub(crate) struct App<C: Clock> {
    pub(crate) settings: Arc<IngesterSettings>,
    pub(crate) verifier: TokenVerifier<C>,
    pub(crate) peers: Peers<C>,
    pub(crate) directory: Directory<C>,
    pub(crate) elements: Elements<C>,
    pub(crate) pipeline: UploadPipeline<C>,
    pub(crate) metrics: IngesterMetrics<C>,
    pub(crate) uploads: Semaphore,
    pub(crate) downloads: Arc<Semaphore>,
}

/// Where a file is.
#[derive(Debug, Clone)]
pub(crate) struct Located {
    /// The address of its element.
    pub(crate) element_url: String,
    /// Its record, as the index or the element tells it.
    pub(crate) record: FileRecord,
    /// Whether the element told it, just now.
    pub(crate) confirmed: bool,
    /// The element, and the list that it was looked up in, for the case that it has moved since.
    listed: (String, Arc<List>),
}

impl<C: Clock> App<C> {
    /// The claims of the bearer, if its token allows `scope`.
    pub(crate) async fn authenticate(&self, parts: &Parts, scope: &str) -> Result<Claims, Failure> {
        let peer = parts.extensions.get::<PeerInfo>().and_then(|peer| peer.certificate.as_ref());
        let fingerprint = peer.map(|certificate| &certificate.sha256_fingerprint);
        self.verifier
            .authenticate_over(&parts.headers, scope, fingerprint)
            .await
            .map_err(|rejection| rejected(&rejection))
    }

    /// The answer of a handler; a failure becomes a problem document, is counted and logged, once.
    pub(crate) fn answer(&self, outcome: Result<Response, Failure>) -> Response {
        let failure = match outcome {
            Ok(response) => return response,
            Err(failure) => failure,
        };
        self.metrics.problem_answered(failure.code());
        if failure.is_ours() {
            tracing::error!(
                code = failure.code().as_str(),
                detail = failure.detail(),
                cause = failure.cause(),
                "request failed"
            );
        } else {
            tracing::info!(
                code = failure.code().as_str(),
                detail = failure.detail(),
                cause = failure.cause(),
                "request refused"
            );
        }
        let response = ProblemResponse::from(failure.problem());
        match failure.header() {
            Some((name, value)) => response.with_header(name.clone(), value.clone()),
            None => response,
        }
        .into_response()
    }

    /// The body of a request, read with our time-out.
    pub(crate) fn client_body(&self, parts: &Parts, body: Body) -> ClientBody {
        let waits =
            parts.headers.get(EXPECT).is_some_and(|expect| expect.as_bytes().eq_ignore_ascii_case(b"100-continue"));
        let linger = Linger { bytes: self.settings.linger_bytes, timeout: self.settings.linger_timeout };
        ClientBody::new(body, waits, self.settings.read_timeout, linger)
    }

    /// A place among the uploads under way.
    pub(crate) fn upload_place(&self) -> Result<SemaphorePermit<'_>, Failure> {
        self.uploads.try_acquire().map_err(|_| rate_limited("uploads"))
    }

    /// Where a file is: the index knows it, or an element does whose report has not arrived.
    pub(crate) async fn locate(&self, id: FileId) -> Result<Located, Failure> {
        let indexed = self.indexed(id).await;
        let list = self.directory.list().await?;
        match indexed {
            Ok(Some(file)) => match self.element_url(list, &file.element_id).await {
                Some((element_url, list)) => {
                    let listed = (file.element_id, list);
                    Ok(Located { element_url, record: file.record, confirmed: false, listed })
                }
                None => Err(unreachable_element().because(format!("element {} is not in the list", file.element_id))),
            },
            // A file whose report has not arrived may be on an element that is silent: then nobody knows that there is none.
            Ok(None) => self
                .search(&list, id)
                .await?
                .ok_or_else(|unanswered| if unanswered { unreachable_element() } else { not_found() }),
            Err(error) => {
                tracing::warn!(%error, file_id = %id, "the index cannot be asked; asking the elements");
                self.search(&list, id).await?.ok_or_else(|unanswered| {
                    if unanswered { unreachable_element().because(error) } else { not_found() }
                })
            }
        }
    }

    async fn element_url(&self, list: Arc<List>, element_id: &str) -> Option<(String, Arc<List>)> {
        if let Some(url) = list.url_of(element_id) {
            return Some((url, list));
        }
        let newer = self.directory.newer_than(&list).await?;
        newer.url_of(element_id).map(|url| (url, newer))
    }

    /// Asks the element of a file; if no request reaches it, once more at the address that a newer list has for it.
    pub(crate) async fn ask_element<T, F>(
        &self,
        located: &Located,
        ask: impl Fn(String) -> F,
    ) -> Result<T, ElementError>
    where
        F: Future<Output = Result<T, ElementError>>,
    {
        let error = match ask(located.element_url.clone()).await {
            Err(error) if error.is_unheard() => error,
            answer => return answer,
        };
        let (element_id, list) = &located.listed;
        let newer = self.directory.newer_than(list).await;
        match newer.and_then(|list| list.url_of(element_id)).filter(|url| *url != located.element_url) {
            Some(moved) => ask(moved).await,
            None => Err(error),
        }
    }

    async fn indexed(&self, id: FileId) -> Result<Option<IndexedFile>, PeerError> {
        let mut error = PeerError::Malformed("no address of an Admin Module is configured".to_owned());
        for admin in &self.settings.admin_urls {
            let url = format!("{}/api/v1/files/{id}", admin.trim_end_matches('/'));
            match self.peers.ask(&Ask::new(Method::GET, url, self.settings.request_timeout)).await {
                Ok(answer) if answer.status == StatusCode::OK => return answer.json().map(Some),
                Ok(answer) if answer.status == StatusCode::NOT_FOUND => return Ok(None),
                Ok(answer) => error = PeerError::Malformed(answer.cause()),
                Err(failed) => error = failed,
            }
        }
        Err(error)
    }

    /// Asks all known elements for a file at once.
    async fn search(&self, list: &Arc<List>, id: FileId) -> Result<Searched, Failure> {
        let asked = list
            .elements
            .iter()
            .take(self.settings.max_candidates)
            .map(|element| async move { (element, self.elements.record(&element.url, id).await) });
        let mut answers = asked.collect::<futures_util::stream::FuturesUnordered<_>>();
        let mut unanswered = false;
        while let Some((element, answer)) = answers.next().await {
            match answer {
                Ok(Some(record)) => {
                    let (element_url, listed) = (element.url.clone(), (element.element_id.clone(), Arc::clone(list)));
                    return Ok(Searched::Found(Box::new(Located { element_url, record, confirmed: true, listed })));
                }
                Ok(None) => {}
                Err(error) => {
                    if let ElementError::Peer(PeerError::NoToken(cause)) = &error {
                        return Err(crate::directory::unavailable(cause));
                    }
                    unanswered = true;
                }
            }
        }
        Ok(Searched::Nowhere { unanswered })
    }
}

/// What asking the elements came to.
enum Searched {
    Found(Box<Located>),
    Nowhere {
        /// One of them gave no answer: it may have the file.
        unanswered: bool,
    },
}

impl Searched {
    fn ok_or_else(self, failure: impl FnOnce(bool) -> Failure) -> Result<Located, Failure> {
        match self {
            Self::Found(located) => Ok(*located),
            Self::Nowhere { unanswered } => Err(failure(unanswered)),
        }
    }
}

/// There is no such file, or not any more.
pub(crate) fn not_found() -> Failure {
    Failure::new(Code::NotFound, "there is no such file")
}

/// The element that has the file, or may have it, gives no answer.
pub(crate) fn unreachable_element() -> Failure {
    Failure::new(Code::ElementUploadFailed, "the Storage Element of the file cannot be reached; try again later")
}

/// Too many of something at once.
pub(crate) fn rate_limited(what: &str) -> Failure {
    Failure::new(Code::RateLimited, format!("too many {what} are under way; try again in a moment"))
        .with_header(RETRY_AFTER, HeaderValue::from_static("1"))
}

fn rejected(rejection: &Rejection) -> Failure {
    let (code, detail) = match rejection {
        Rejection::MissingToken => (Code::Unauthorized, "send an access token: Authorization: Bearer …".to_owned()),
        Rejection::InvalidToken(error) => (Code::Unauthorized, format!("the access token is not valid: {error}")),
        Rejection::InsufficientScope { scope } => {
            (Code::Forbidden, format!("the access token lacks the scope {scope}"))
        }
        Rejection::KeysUnavailable => {
            (Code::AdminUnavailable, "the keys to check access tokens cannot be fetched; try again later".to_owned())
        }
    };
    let failure = Failure::new(code, detail);
    match rejection.www_authenticate() {
        Some(challenge) => failure.with_header(WWW_AUTHENTICATE, challenge),
        None => failure,
    }
}
