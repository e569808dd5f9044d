//! The spans of tracing: one for each acquisition, one for each exchange, with the outcomes that are counted.

use crate::support::{FIRST, Issuer, Rig, SECOND, Step, instances, pass};
use artstore_auth::AuthErrorType;
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};

/// A span: its name, its parent's name, its fields.
#[derive(Debug, Clone, Default)]
struct Seen {
    name: &'static str,
    parent: Option<&'static str>,
    fields: BTreeMap<&'static str, String>,
}

impl tracing::field::Visit for Seen {
    fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn Debug) {
        self.fields.insert(field.name(), format!("{value:?}").trim_matches('"').to_owned());
    }
}

#[derive(Clone, Default)]
struct Spans(Arc<Mutex<BTreeMap<u64, Seen>>>);

impl<S: tracing::Subscriber + for<'a> tracing_subscriber::registry::LookupSpan<'a>> Layer<S> for Spans {
    fn on_new_span(&self, attributes: &tracing::span::Attributes<'_>, id: &tracing::Id, context: Context<'_, S>) {
        let parent = context.span(id).unwrap().parent().map(|parent| parent.name());
        let mut seen = Seen { name: attributes.metadata().name(), parent, ..Seen::default() };
        attributes.record(&mut seen);
        let mut spans = self.0.lock().unwrap();
        // Identifiers are used again: the number says the order.
        let number = spans.len() as u64;
        context.span(id).unwrap().extensions_mut().insert(number);
        spans.insert(number, seen);
    }

    fn on_record(&self, id: &tracing::Id, values: &tracing::span::Record<'_>, context: Context<'_, S>) {
        let number = *context.span(id).unwrap().extensions().get::<u64>().unwrap();
        values.record(self.0.lock().unwrap().get_mut(&number).unwrap());
    }
}

impl Spans {
    /// Each span as `parent/name key=value…`, in the order of their starts.
    fn texts(&self) -> Vec<String> {
        let text = |seen: &Seen| {
            let fields = seen.fields.iter().map(|(name, value)| format!(" {name}={value}"));
            format!("{}/{}{}", seen.parent.unwrap_or_default(), seen.name, fields.collect::<String>())
        };
        self.0.lock().unwrap().values().map(text).collect()
    }
}

#[tokio::test(start_paused = true)]
async fn acquisitions_and_exchanges_have_spans_with_the_outcomes_that_are_counted() {
    let spans = Spans::default();
    let _guard = tracing::subscriber::set_default(tracing_subscriber::registry().with(spans.clone()));
    let steps = [
        Step::Fail(AuthErrorType::Connect, false),
        Step::Grant(1800),
        Step::json(400, &serde_json::json!({"error": "invalid_scope"})),
    ];
    let rig = Rig::with(Issuer::new(steps, Step::Hang(true)), |settings| settings.instances = instances());
    rig.service.access_token().await.unwrap();
    pass(Duration::from_secs(5)).await;
    rig.service.refresh().await.unwrap_err();
    pass(Duration::from_secs(60)).await;
    let refresh = tokio::spawn({
        let service = rig.service.clone();
        async move { service.refresh().await }
    });
    pass(Duration::from_secs(3)).await;
    rig.service.close();
    refresh.await.unwrap().unwrap_err();
    let url = |url: &str| format!("admin_module_url={url}");
    let (first, second) = (url(FIRST), url(SECOND));
    assert_eq!(
        spans.texts(),
        [
            "/token_acquisition outcome=success trigger=initial".to_owned(),
            format!("token_acquisition/token_exchange {first} outcome=connect"),
            format!("token_acquisition/token_exchange {second} outcome=success"),
            "/token_acquisition outcome=invalid_scope trigger=manual".to_owned(),
            format!("token_acquisition/token_exchange {second} outcome=invalid_scope"),
            "/token_acquisition outcome=cancelled trigger=manual".to_owned(),
            format!("token_acquisition/token_exchange {first}"),
        ]
    );
    assert_eq!(rig.errors(), [("connect", 1), ("invalid_scope", 1)]);
    assert_eq!(rig.sum("auth_token_acquisition_cancelled_total", &[]), 1);
    rig.assert_identities();
}
