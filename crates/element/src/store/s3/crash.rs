//! Every state in which a process that dies can leave the bucket, made by hand, and what a start makes of it.

use super::S3Store;
use crate::metrics::ElementMetrics;
use crate::settings::S3Settings;
use crate::store::conformance::{deleted, notes, pattern, publish, published};
use crate::store::weed::Weed;
use crate::store::{BlobStore, Scan, StoreError};
use artstore_api::FileId;
use artstore_metrics::Registry;
use bytes::Bytes;
use object_store::ObjectStoreExt as _;
use std::sync::Arc;

async fn start(weed: &Weed, prefix: &str) -> (Arc<dyn BlobStore>, S3Store, Scan, Registry) {
    let registry = Registry::new();
    let settings = S3Settings { prefix: prefix.to_owned(), ..weed.settings.clone() };
    let metrics = ElementMetrics::new(&registry, Default::default);
    let store = S3Store::open(&settings, weed.client.clone(), metrics).unwrap();
    let scan = store.scan().await.unwrap();
    (Arc::new(store.clone()), store, scan, registry)
}

#[tokio::test]
async fn a_bucket_is_swept_after_every_crash() {
    let Some(weed) = Weed::start().await else { return };
    let swept = |registry: &Registry, kind| registry.sum_of("element_leftovers_swept_total", &[("kind", kind)]);

    println!("dead before the object: markers alone are swept");
    let (dynamic, store, ..) = start(&weed, "a").await;
    let record = publish(&dynamic, &pattern(9), 9_000).await;
    let kept = publish(&dynamic, &pattern(5), 9_000).await;
    store.s3.delete(&store.object(record.file_id)).await.unwrap();
    let (dynamic, store, scan, registry) = start(&weed, "a").await;
    assert_eq!((scan.files, scan.bytes, scan.unreported), (1, 5, 1));
    assert_eq!(swept(&registry, "attributes") + swept(&registry, "object"), 0.0, "the marker said what to remove");
    assert!(!store.exists(&store.attributes(record.file_id)).await.unwrap());
    assert_eq!(dynamic.unreported(9).await.unwrap(), [published(kept.file_id)]);
    assert_eq!(dynamic.list(None, 9).await.unwrap(), std::slice::from_ref(&kept));

    println!("the same without the marker");
    store.s3.put(&store.attributes(record.file_id), Bytes::from_static(b"{}").into()).await.unwrap();
    let (_, store, scan, registry) = start(&weed, "a").await;
    assert_eq!((scan.files, swept(&registry, "attributes")), (1, 1.0));

    println!("an object without attributes is swept, wherever it is in the order");
    for orphan in [FileId(uuid::Uuid::nil()), FileId::generate()] {
        store.s3.put(&store.object(orphan), Bytes::from_static(b"x").into()).await.unwrap();
    }
    let (dynamic, store, scan, registry) = start(&weed, "a").await;
    assert_eq!((scan.files, swept(&registry, "object")), (1, 2.0));

    println!("a begun deletion is finished and told");
    store.s3.put(&store.outbox(kept.file_id), Bytes::from_static(super::DELETED).into()).await.unwrap();
    drop((dynamic, store));
    let (dynamic, _, scan, registry) = start(&weed, "a").await;
    assert_eq!((scan.files, scan.unreported, swept(&registry, "object")), (0, 1, 1.0));
    assert_eq!(dynamic.unreported(9).await.unwrap(), [deleted(kept.file_id)]);
    assert!(matches!(dynamic.record(kept.file_id).await, Err(StoreError::NotFound)));

    println!("notes of a published upload, and notes that are not whole, are swept");
    let (dynamic, store, ..) = start(&weed, "b").await;
    let record = publish(&dynamic, &pattern(9), 9_000).await;
    dynamic.create(record.file_id, &notes(None)).await.unwrap();
    store.s3.put(&store.state(FileId::generate()), Bytes::from_static(b"{").into()).await.unwrap();
    let (_, _, scan, registry) = start(&weed, "b").await;
    assert_eq!((scan.files, scan.bytes, scan.sessions.len()), (1, 9, 0));
    assert_eq!((swept(&registry, "session"), swept(&registry, "part")), (1.0, 1.0));
    let (_, _, scan, registry) = start(&weed, "b").await;
    assert_eq!((scan.files, swept(&registry, "session"), swept(&registry, "part")), (1, 0.0, 0.0));

    println!("bytes that are not those of the record are not served");
    store.s3.put(&store.object(record.file_id), Bytes::from_static(b"short").into()).await.unwrap();
    assert!(matches!(store.live_record(record.file_id).await, Err(StoreError::Damaged { .. })));
}
