//! Metric families declared once, recorded through typed handles, written in two text formats; and the injected [`Clock`].
//!
//! A crate that measures declares its families as `const` [`Family`] items, in one `metrics.rs`, and asks a [`Registry`] for
//! the storage of each. Label sets are enums ([`label_enum!`]) or bounded sets known at construction, so recording is one
//! indexed atomic update, and every valid combination stands at 0 on the first scrape: a first failure shows in `increase()`.
//!
//! Nothing here is global and nothing here knows the name of a family.
//!
//! ```
//! use artstore_metrics::{Counter, Family, Format, LabelValue, Registry, label_enum};
//!
//! label_enum! {
//!     /// How a delivery ended.
//!     pub enum Outcome as "outcome" {
//!         /// It arrived.
//!         Arrived = "arrived",
//!         /// It was lost.
//!         Lost = "lost",
//!     }
//! }
//!
//! const DELIVERIES: Family = Family::counter("deliveries_total", "Deliveries by outcome.").labels(&[Outcome::LABEL]);
//!
//! let registry = Registry::new();
//! let deliveries: Counter<Outcome> = registry.counter(&DELIVERIES);
//! deliveries.inc(Outcome::Lost);
//! let text = registry.encode(Format::Text);
//! assert!(text.ends_with("deliveries_total{outcome=\"arrived\"} 0\ndeliveries_total{outcome=\"lost\"} 1\n"));
//! ```

mod cells;
mod clock;
mod exemplar;
mod exposition;
mod family;
mod label;
mod reading;
mod registry;
mod shards;

pub use cells::{Counter, Gauge, GaugeGuard, Histogram};
pub use clock::{Clock, Monotonic, SystemClock, TestClock, UnixTime};
pub use exemplar::Exemplar;
pub use exposition::{Format, Samples};
pub use family::{Family, Kind, Label, Values};
pub use label::{LabelSet, LabelValue, Outcome, Row, Rows};
pub use reading::Sample;
pub use registry::{EventLock, Registry};
pub use shards::{Shard, Shards};
