//! The list of elements: fetched from the Admin Module, kept while it is away, renewed behind the requests' backs.

use crate::failure::Failure;
use crate::metrics::IngesterMetrics;
use crate::peer::{Ask, PeerError, Peers};
use crate::settings::IngesterSettings;
use arc_swap::{ArcSwap, ArcSwapOption};
use artstore_api::Code;
use artstore_api::element::{Element, ElementList, ElementMode, ElementStatus};
use artstore_metrics::{Clock, Monotonic};
use http::{Method, StatusCode};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex;

/// The list as it was fetched.
#[derive(Debug, Clone)]
pub(crate) struct List {
    pub(crate) elements: Vec<Element>,
    fetched: Monotonic,
}

impl List {
    /// The elements that take files of this mode, most free space first; of equals, in the order of their identifiers.
    pub(crate) fn online(&self, mode: ElementMode) -> Vec<Element> {
        let online = |element: &&Element| element.mode == mode && element.status == ElementStatus::Online;
        let mut elements: Vec<Element> = self.elements.iter().filter(online).cloned().collect();
        elements.sort_by(|a, b| {
            b.capacity.free_bytes.cmp(&a.capacity.free_bytes).then_with(|| a.element_id.cmp(&b.element_id))
        });
        elements
    }

    /// The address of this element.
    pub(crate) fn url_of(&self, element_id: &str) -> Option<String> {
        self.elements.iter().find(|element| element.element_id == element_id).map(|element| element.url.clone())
    }
}

/// How the last fetch went, for health.
#[derive(Debug, Clone, Default)]
pub(crate) struct LastFetch {
    pub(crate) error: Option<String>,
}

/// Where to find the list. Clones share it.
pub(crate) struct Directory<C: Clock> {
    inner: Arc<Inner<C>>,
}

impl<C: Clock> Clone for Directory<C> {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner) }
    }
}

struct Inner<C: Clock> {
    peers: Peers<C>,
    settings: Arc<IngesterSettings>,
    metrics: IngesterMetrics<C>,
    clock: C,
    list: ArcSwapOption<List>,
    last: ArcSwap<LastFetch>,
    /// Held while a list is fetched: the moment of the last attempt.
    fetching: Mutex<Option<Monotonic>>,
}

impl<C: Clock> Directory<C> {
    pub(crate) fn new(peers: Peers<C>, settings: Arc<IngesterSettings>, metrics: IngesterMetrics<C>, clock: C) -> Self {
        let inner = Inner {
            peers,
            settings,
            metrics,
            clock,
            list: ArcSwapOption::empty(),
            last: ArcSwap::default(),
            fetching: Mutex::new(None),
        };
        Self { inner: Arc::new(inner) }
    }

    /// The list: at once if a usable one is held (an old one is then renewed in the background), else fetched.
    pub(crate) async fn list(&self) -> Result<Arc<List>, Failure> {
        match self.held() {
            Some((list, age)) => {
                if age >= self.inner.settings.element_list_ttl {
                    let directory = self.clone();
                    tokio::spawn(async move { directory.renew_unless_tried().await });
                }
                Ok(list)
            }
            None => self.fetched_by_now(self.inner.clock.monotonic()).await,
        }
    }

    /// A list fetched after `list`, if it can be had: the caller found nothing usable in that one. Fetches at most once per
    /// [`IngesterSettings::element_list_retry`], however many ask.
    pub(crate) async fn newer_than(&self, list: &Arc<List>) -> Option<Arc<List>> {
        let mut tried = self.inner.fetching.lock().await;
        if !self.tried_lately(*tried) {
            *tried = Some(self.inner.clock.monotonic());
            let _ = self.fetch().await;
        }
        drop(tried);
        self.held().map(|(held, _)| held).filter(|held| !Arc::ptr_eq(held, list))
    }

    /// Fetches a list now, unless someone is at it or an attempt failed a moment ago.
    pub(crate) async fn renew_unless_tried(&self) {
        let Ok(mut tried) = self.inner.fetching.try_lock() else { return };
        if !self.tried_lately(*tried) {
            *tried = Some(self.inner.clock.monotonic());
            let _ = self.fetch().await;
        }
    }

    /// The list that is held, whatever its age, and its age; none if it is too old to be used.
    pub(crate) fn held(&self) -> Option<(Arc<List>, Duration)> {
        let list = self.inner.list.load_full()?;
        let age = self.inner.clock.monotonic().since(list.fetched);
        (age < self.inner.settings.element_list_stale).then_some((list, age))
    }

    /// Why the last fetch failed, if it did.
    pub(crate) fn last_error(&self) -> Option<String> {
        self.inner.last.load().error.clone()
    }

    fn tried_lately(&self, tried: Option<Monotonic>) -> bool {
        let now = self.inner.clock.monotonic();
        tried.is_some_and(|tried| now.since(tried) < self.inner.settings.element_list_retry)
    }

    /// One fetch for all that wait for it: who gets the lock after an attempt that began since `asked` takes its result.
    async fn fetched_by_now(&self, asked: Monotonic) -> Result<Arc<List>, Failure> {
        let mut tried = self.inner.fetching.lock().await;
        if let Some((list, _)) = self.held() {
            return Ok(list);
        }
        if tried.is_some_and(|tried| tried >= asked) {
            return Err(unavailable(self.last_error().unwrap_or_default()));
        }
        *tried = Some(self.inner.clock.monotonic());
        self.fetch().await.map_err(|error| unavailable(error.to_string()))
    }

    async fn fetch(&self) -> Result<Arc<List>, PeerError> {
        let mut error = PeerError::Malformed("no address of an Admin Module is configured".to_owned());
        for url in &self.inner.settings.admin_urls {
            match self.fetch_from(url).await {
                Ok(list) => return Ok(self.keep(list)),
                Err(failed) => {
                    let no_token = matches!(failed, PeerError::NoToken(_));
                    error = failed;
                    if no_token {
                        break;
                    }
                }
            }
        }
        self.inner.metrics.list_fetch_failed();
        tracing::warn!(%error, "the list of elements cannot be fetched");
        self.inner.last.store(Arc::new(LastFetch { error: Some(error.to_string()) }));
        Err(error)
    }

    async fn fetch_from(&self, admin: &str) -> Result<ElementList, PeerError> {
        let url = format!("{}/api/v1/storage-elements", admin.trim_end_matches('/'));
        let answer = self.inner.peers.ask(&Ask::new(Method::GET, url, self.inner.settings.request_timeout)).await?;
        if answer.status != StatusCode::OK {
            return Err(PeerError::Malformed(answer.cause()));
        }
        answer.json()
    }

    fn keep(&self, list: ElementList) -> Arc<List> {
        let list = Arc::new(List { elements: list.elements, fetched: self.inner.clock.monotonic() });
        self.inner.metrics.list_fetched(|mode| list.online(mode).len());
        self.inner.list.store(Some(Arc::clone(&list)));
        self.inner.last.store(Arc::default());
        list
    }
}

/// What a client is told while the Admin Module is away and nothing is cached.
pub(crate) fn unavailable(cause: impl std::fmt::Display) -> Failure {
    let detail = "the Admin Module gave no token or no list of elements, and none is cached; try again later";
    Failure::new(Code::AdminUnavailable, detail).because(cause)
}

#[cfg(test)]
mod tests {
    use super::*;
    use artstore_api::element::Capacity;

    fn element(id: &str, mode: ElementMode, status: ElementStatus, free_bytes: u64) -> Element {
        let capacity = Capacity { capacity_bytes: 100, free_bytes };
        Element { element_id: id.to_owned(), url: format!("https://{id}"), mode, status, capacity }
    }

    #[test]
    fn candidates_are_online_of_the_mode_and_the_emptiest_comes_first() {
        use ElementMode::{Edit, Rw};
        use ElementStatus::{Offline, Online};
        let elements = vec![
            element("d", Edit, Online, 50),
            element("a", Edit, Online, 10),
            element("b", Edit, Offline, 99),
            element("c", Rw, Online, 99),
            element("e", Edit, Online, 70),
            element("b2", Edit, Online, 50),
        ];
        let list = List { elements, fetched: Monotonic::default() };
        let ids = |mode| list.online(mode).into_iter().map(|element| element.element_id).collect::<Vec<_>>();
        assert_eq!(ids(Edit), ["e", "b2", "d", "a"]);
        assert_eq!(ids(Rw), ["c"]);
    }
}
