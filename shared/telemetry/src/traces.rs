//! Spans of requests, exported over OTLP when a collector is named.
//!
//! Whether a request is sampled is decided before a span is made: an unsampled request, and every request of a process
//! without a collector, costs a few random bytes. Spans hold what callers of [`RequestTrace::set`] give: names, counts and
//! codes, never content.

use std::fmt;
use std::sync::OnceLock;

use opentelemetry::trace::{
    Span as _, SpanContext, SpanId, SpanKind, Status, TraceContextExt as _, TraceFlags, TraceId, TraceState,
    Tracer as _, TracerProvider as _,
};
use opentelemetry::{Context, KeyValue, StringValue};
use opentelemetry_otlp::WithExportConfig as _;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{Sampler, SdkTracer, SdkTracerProvider, Span};

use crate::context::TraceContext;
use crate::{InitError, Options};

struct Exporting {
    tracer: SdkTracer,
    /// Share of new traces that are sampled, of 2^32.
    share: u64,
}

static EXPORTING: OnceLock<Exporting> = OnceLock::new();

pub(crate) fn init(options: &Options) -> Result<Option<SdkTracerProvider>, InitError> {
    let variable = |name| std::env::var(name).ok().filter(|text| !text.is_empty());
    let endpoint =
        variable("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT").or_else(|| variable("OTEL_EXPORTER_OTLP_ENDPOINT"));
    let Some(endpoint) = endpoint else { return Ok(None) };
    let exporter = opentelemetry_otlp::SpanExporter::builder()
        .with_tonic()
        .with_endpoint(endpoint)
        .build()
        .map_err(|error| InitError::Exporter(error.to_string()))?;
    let service = variable("OTEL_SERVICE_NAME").unwrap_or_else(|| options.service.to_owned());
    let resource = Resource::builder()
        .with_service_name(service)
        .with_attribute(KeyValue::new("service.version", options.version))
        .build();
    // The decision is ours and comes before; what reaches the SDK is recorded.
    let provider = SdkTracerProvider::builder()
        .with_sampler(Sampler::AlwaysOn)
        .with_batch_exporter(exporter)
        .with_resource(resource)
        .build();
    let share =
        share(variable("OTEL_TRACES_SAMPLER").as_deref(), variable("OTEL_TRACES_SAMPLER_ARG").as_deref());
    let tracer = provider.tracer("portcullis");
    EXPORTING.set(Exporting { tracer, share }).map_err(|_| InitError::Twice)?;
    Ok(Some(provider))
}

/// The share of new traces, of 2^32. A caller's own decision stands whatever the share, as in the `parentbased_` samplers.
fn share(sampler: Option<&str>, argument: Option<&str>) -> u64 {
    const WHOLE: u64 = 1 << 32;
    match sampler {
        Some("always_off" | "parentbased_always_off") => 0,
        Some("traceidratio" | "parentbased_traceidratio") => {
            let ratio = argument.and_then(|text| text.parse::<f64>().ok()).unwrap_or(1.0).clamp(0.0, 1.0);
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "within 0 and 2^32")]
            let share = (ratio * (WHOLE as f64)) as u64;
            share
        }
        _ => WHOLE,
    }
}

/// One request in its trace. Ends its span when it is dropped.
pub struct RequestTrace {
    context: TraceContext,
    span: Option<Box<Span>>,
}

impl fmt::Debug for RequestTrace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestTrace").field("context", &self.context).finish_non_exhaustive()
    }
}

/// Begins the trace of a request, under the caller's place if it gave a valid one.
#[must_use]
pub fn request(name: &'static str, caller: Option<&TraceContext>) -> RequestTrace {
    let Some(exporting) = EXPORTING.get() else {
        // No collector: the caller's decision is passed on, so that upstreams see it.
        let context = caller.map_or_else(|| TraceContext::new_root(false), TraceContext::child);
        return RequestTrace { context, span: None };
    };
    let mut context = caller.map_or_else(|| TraceContext::new_root(false), TraceContext::child);
    if caller.is_none() {
        let [a, b, c, d, ..] = context.trace_id;
        context.sampled = u64::from(u32::from_be_bytes([a, b, c, d])) < exporting.share;
    }
    if !context.sampled {
        return RequestTrace { context, span: None };
    }
    let builder = exporting.tracer.span_builder(name).with_kind(SpanKind::Server);
    let parent = caller.map_or_else(Context::new, |caller| {
        Context::new().with_remote_span_context(SpanContext::new(
            TraceId::from_bytes(caller.trace_id),
            SpanId::from_bytes(caller.span_id),
            TraceFlags::SAMPLED,
            true,
            TraceState::default(),
        ))
    });
    let span = exporting.tracer.build_with_context(builder, &parent);
    let made = span.span_context();
    let context = TraceContext {
        trace_id: made.trace_id().to_bytes(),
        span_id: made.span_id().to_bytes(),
        sampled: true,
    };
    RequestTrace { context, span: Some(Box::new(span)) }
}

impl RequestTrace {
    /// The place of this request: what upstreams get as `traceparent`, and the record as its ids.
    #[must_use]
    pub const fn context(&self) -> &TraceContext {
        &self.context
    }

    /// Whether attributes are worth making.
    #[must_use]
    pub const fn is_recorded(&self) -> bool {
        self.span.is_some()
    }

    /// Sets an attribute: a name, a count or a code, never content.
    pub fn set(&mut self, key: &'static str, value: impl Into<StringValue>) {
        if let Some(span) = &mut self.span {
            span.set_attribute(KeyValue::new(key, value.into()));
        }
    }

    /// Marks the request as failed, with its reason's code.
    pub fn fail(&mut self, code: &'static str) {
        if let Some(span) = &mut self.span {
            span.set_status(Status::error(code));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{request, share};
    use crate::TraceContext;

    #[test]
    fn the_share_follows_the_standard_variables() {
        assert_eq!(share(None, None), 1 << 32);
        assert_eq!(share(Some("always_off"), None), 0);
        assert_eq!(share(Some("traceidratio"), Some("0.5")), 1 << 31);
        assert_eq!(share(Some("parentbased_traceidratio"), Some("7")), 1 << 32);
        assert_eq!(share(Some("parentbased_traceidratio"), Some("nonsense")), 1 << 32);
    }

    #[test]
    fn without_a_collector_the_callers_trace_goes_on() {
        let caller: TraceContext = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".parse().unwrap();
        let ours = request("call", Some(&caller));
        assert!(!ours.is_recorded());
        assert_eq!(ours.context().trace_id, caller.trace_id);
        assert!(ours.context().sampled);
        assert_ne!(ours.context().span_id, caller.span_id);
        assert!(!request("call", None).context().sampled);
    }
}
