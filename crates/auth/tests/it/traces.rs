//! Traces: an acquisition belongs to the trace of who caused it, one in the background is a trace of its own.

use crate::support::{Issuer, Rig, Step, pass};
use artstore_auth::AuthErrorType;
use artstore_metrics::Format;
use artstore_trace::{Context, Sink, SpanRecord, Tracer, Value};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00f067aa0ba902b7";

#[derive(Default)]
struct Kept(Mutex<Vec<SpanRecord>>);

impl Sink for Kept {
    fn ended(&self, span: SpanRecord) {
        self.0.lock().unwrap().push(span);
    }
}

/// The lines of a scrape in OpenMetrics that have the exemplar of this trace.
fn exemplars(rig: &Rig, trace: &str) -> Vec<String> {
    let text = rig.registry.encode(Format::OpenMetrics);
    let named = format!("# {{trace_id=\"{trace}\"}}");
    text.lines().filter(|line| line.contains(&named)).map(|line| line.split('{').next().unwrap().to_owned()).collect()
}

#[tokio::test(start_paused = true)]
async fn an_acquisition_belongs_to_its_first_caller_and_a_refresh_in_the_background_to_nobody() {
    let kept = Arc::new(Kept::default());
    let tracer = Tracer::new(1.0, || Duration::from_secs(1), Some(Arc::<Kept>::clone(&kept)));
    let steps = [Step::Grant(1800).late(300), Step::Fail(AuthErrorType::Connect, false)];
    let rig = Rig::with(Issuer::new(steps, Step::Grant(1800)), |settings| settings.tracer = Some(tracer));
    let header = format!("00-{TRACE}-{PARENT}-01");
    let caller = Context::parse([header.as_bytes()], []).unwrap();
    let (first, second) = tokio::join!(caller.scope(rig.service.access_token()), rig.service.access_token());
    assert_eq!(first.unwrap().generation(), second.unwrap().generation());
    let acquired = kept.0.lock().unwrap().remove(0);
    assert_eq!(
        (acquired.context.trace_id().to_string().as_str(), acquired.name.as_ref()),
        (TRACE, "token_acquisition")
    );
    assert_eq!(acquired.parent.unwrap().span_id.to_string(), PARENT);
    assert_eq!(acquired.attributes, [("artstore.token.trigger", Value::from("initial"))]);
    assert!(!acquired.failed);
    let both = ["auth_token_acquisition_duration_seconds_bucket", "auth_token_refresh_duration_seconds_bucket"];
    assert_eq!(exemplars(&rig, TRACE), both);

    // Its margin is five minutes; the first refresh fails, the next brings a token.
    pass(Duration::from_secs(1_700)).await;
    let spans = kept.0.lock().unwrap().clone();
    assert_eq!(spans.iter().map(|span| (span.parent, span.failed)).collect::<Vec<_>>(), [(None, true), (None, false)]);
    let error = ("error.type", Value::from("connect"));
    assert_eq!(spans[0].attributes, [("artstore.token.trigger", Value::from("expiring_soon")), error]);
    assert_ne!(spans[0].context.trace_id(), spans[1].context.trace_id());
    let refreshed = spans[1].context.trace_id().to_string();
    assert_eq!(exemplars(&rig, &refreshed).len(), 2);
}

#[tokio::test(start_paused = true)]
async fn an_acquisition_that_is_cut_short_is_an_error() {
    let kept = Arc::new(Kept::default());
    let tracer = Tracer::new(1.0, || Duration::from_secs(1), Some(Arc::<Kept>::clone(&kept)));
    let rig = Rig::with(Issuer::new([], Step::Hang(true)), |settings| settings.tracer = Some(tracer));
    let waiting = tokio::spawn({
        let service = rig.service.clone();
        async move { service.access_token().await }
    });
    pass(Duration::from_secs(1)).await;
    rig.service.close();
    waiting.await.unwrap().unwrap_err();
    let spans = kept.0.lock().unwrap();
    assert_eq!(spans[0].attributes.last().unwrap(), &("error.type", Value::from("cancelled")));
}
