//! Spans as OTLP's protobuf messages: `opentelemetry/proto/collector/trace/v1/trace_service.proto` and what it needs.

use artstore_trace::{Kind, SpanRecord, Value};

/// A message in the making: fields in the order in which they are written.
#[derive(Default)]
struct Message(Vec<u8>);

impl Message {
    fn tag(&mut self, field: u32, wire_type: u32) {
        self.raw_varint(u64::from(field << 3 | wire_type));
    }

    fn raw_varint(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.0.push(number.to_le_bytes()[0] | 0x80);
            number >>= 7;
        }
        self.0.push(number.to_le_bytes()[0]);
    }

    fn varint(&mut self, field: u32, number: u64) {
        self.tag(field, 0);
        self.raw_varint(number);
    }

    fn fixed64(&mut self, field: u32, number: u64) {
        self.tag(field, 1);
        self.0.extend_from_slice(&number.to_le_bytes());
    }

    fn bytes(&mut self, field: u32, bytes: &[u8]) {
        self.tag(field, 2);
        self.raw_varint(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }

    fn message(&mut self, field: u32, fill: impl FnOnce(&mut Self)) {
        let mut inner = Self::default();
        fill(&mut inner);
        self.bytes(field, &inner.0);
    }

    fn fixed32(&mut self, field: u32, number: u32) {
        self.tag(field, 5);
        self.0.extend_from_slice(&number.to_le_bytes());
    }

    /// `KeyValue`.
    fn attribute(&mut self, field: u32, key: &str, value: &Value) {
        self.message(field, |pair| {
            pair.bytes(1, key.as_bytes());
            pair.message(2, |any| match value {
                Value::Text(text) => any.bytes(1, text.as_bytes()),
                Value::Integer(number) => any.varint(3, number.cast_unsigned()),
            });
        });
    }
}

/// `ExportTraceServiceRequest`: these spans of this resource.
pub(super) fn export_request(resource: &[(&'static str, String)], spans: &[SpanRecord]) -> Vec<u8> {
    let mut request = Message::default();
    request.message(1, |resource_spans| {
        resource_spans.message(1, |message| {
            for (key, value) in resource {
                message.attribute(1, key, &Value::Text(value.clone().into()));
            }
        });
        resource_spans.message(2, |scope_spans| {
            scope_spans.message(1, |scope| {
                scope.bytes(1, env!("CARGO_PKG_NAME").as_bytes());
                scope.bytes(2, env!("CARGO_PKG_VERSION").as_bytes());
            });
            for record in spans {
                scope_spans.message(2, |message| span(message, record));
            }
        });
    });
    request.0
}

/// `Span`.
fn span(message: &mut Message, record: &SpanRecord) {
    /// `SPAN_FLAGS_CONTEXT_HAS_IS_REMOTE_MASK` and `SPAN_FLAGS_CONTEXT_IS_REMOTE_MASK`.
    const KNOWN: u32 = 0x100;
    const REMOTE: u32 = 0x200;
    /// `STATUS_CODE_ERROR`.
    const ERROR: u64 = 2;
    let nanos = |since_epoch: std::time::Duration| u64::try_from(since_epoch.as_nanos()).unwrap_or(u64::MAX);
    message.bytes(1, record.context.trace_id().as_bytes());
    message.bytes(2, record.context.span_id().as_bytes());
    if let Some(state) = record.context.state() {
        message.bytes(3, state.as_bytes());
    }
    if let Some(parent) = record.parent {
        message.bytes(4, parent.span_id.as_bytes());
    }
    message.bytes(5, record.name.as_bytes());
    message.varint(
        6,
        match record.kind {
            Kind::Internal => 1,
            Kind::Server => 2,
            Kind::Client => 3,
        },
    );
    message.fixed64(7, nanos(record.start));
    // A wall clock that was set back must not make a span that no receiver takes.
    message.fixed64(8, nanos(record.end.max(record.start)));
    for (key, value) in &record.attributes {
        message.attribute(9, key, value);
    }
    if record.failed {
        message.message(15, |status| status.varint(3, ERROR));
    }
    let remote = if record.parent.is_some_and(|parent| parent.remote) { REMOTE } else { 0 };
    message.fixed32(16, u32::from(record.context.flags().bits()) | KNOWN | remote);
}

/// How many spans the receiver says it has not taken: `ExportTraceServiceResponse.partial_success.rejected_spans`. An answer
/// that is no such message says none.
pub(super) fn rejected_spans(response: &[u8]) -> u64 {
    let Some(Field::Bytes(partial)) = last_field(response, 1) else { return 0 };
    match last_field(partial, 1) {
        Some(Field::Number(rejected)) => rejected,
        Some(Field::Bytes(_)) | None => 0,
    }
}

enum Field<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

/// The last field of this number: of a field that stands there several times it is the one that counts.
fn last_field(mut message: &[u8], wanted: u64) -> Option<Field<'_>> {
    let mut found = None;
    while !message.is_empty() {
        let tag = take_varint(&mut message)?;
        let field = match tag & 7 {
            0 => Field::Number(take_varint(&mut message)?),
            1 => Field::Bytes(take(&mut message, 8)?),
            2 => {
                let length = take_varint(&mut message)?;
                Field::Bytes(take(&mut message, length)?)
            }
            5 => Field::Bytes(take(&mut message, 4)?),
            _ => return None,
        };
        if tag >> 3 == wanted {
            found = Some(field);
        }
    }
    found
}

fn take<'a>(message: &mut &'a [u8], length: u64) -> Option<&'a [u8]> {
    let (taken, rest) = message.split_at_checked(usize::try_from(length).ok()?)?;
    *message = rest;
    Some(taken)
}

fn take_varint(message: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let byte = *take(message, 1)?.first()?;
        number |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use artstore_trace::{Context, Parent};
    use std::time::Duration;

    fn context() -> Context {
        let header = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        Context::parse([&header[..]], [&b"foo=1"[..]]).unwrap()
    }

    /// Against the encoding guide of protobuf: tag 1 of type 0 with 150 is `08 96 01`; a text in field 2 is `12 07 …`.
    #[test]
    fn fields_are_written_as_protobufs_guide_has_them() {
        let mut message = Message::default();
        message.varint(1, 150);
        message.bytes(2, b"testing");
        message.varint(3, (-2_i64).cast_unsigned());
        message.fixed64(1, 1);
        message.fixed32(1, 0x0102);
        let mut expected = vec![0x08, 0x96, 0x01, 0x12, 0x07];
        expected.extend(b"testing");
        expected.extend([0x18, 0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01]);
        expected.extend([0x09, 1, 0, 0, 0, 0, 0, 0, 0, 0x0d, 2, 1, 0, 0]);
        assert_eq!(message.0, expected);
    }

    /// The whole message is read by OpenTelemetry's own classes in the end-to-end tests; here, what they do not show.
    #[test]
    fn a_clock_that_was_set_back_makes_an_empty_span() {
        let record = |end| SpanRecord {
            context: context(),
            parent: Some(Parent { span_id: context().span_id(), remote: true }),
            name: "GET".into(),
            kind: Kind::Server,
            start: Duration::from_secs(9),
            end: Duration::from_secs(end),
            attributes: Vec::new(),
            failed: false,
        };
        assert_eq!(export_request(&[], &[record(5)]), export_request(&[], &[record(9)]));
        assert_ne!(export_request(&[], &[record(10)]), export_request(&[], &[record(9)]));
    }

    /// The messages of `opentelemetry-proto` 1.40 as Python writes them.
    #[test]
    fn the_number_of_rejected_spans_is_read() {
        for (response, rejected) in [
            (&b""[..], 0),
            (b"\x0a\x00", 0),
            (b"\x0a\x02\x08\x05", 5),
            (b"\x0a\x03\x08\xac\x02", 300),
            (b"\x0a\x07\x08\x05\x12\x03bad", 5),
            (b"\x0a\x07\x12\x03bad\x08\x05", 5),
            (b"\x0a\x09\x09\x01\x02\x03\x04\x05\x06\x07\x08", 0),
            (b"\x15\x01\x02\x03\x04\x0a\x02\x08\x05", 5),
            (b"\x0a\x05\x08\x05", 0),
            (b"\x0a\x0b\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", 0),
            (b"\x0b", 0),
            (b"{}", 0),
        ] {
            assert_eq!(rejected_spans(response), rejected, "{response:?}");
        }
    }
}
