//! Collects metrics and renders them in the text format of Prometheus (`OpenMetrics`). Names have the prefix
//! `portcullis_`, and those of counters the suffix `_total`: `portcullis_denials_total`.
//!
//! Each worker has counters of its own, so that counting does not contend for shared memory; the sums are computed when
//! the metrics are read. The values of labels are closed lists: data from clients never becomes a label. A `code` is that
//! of the response and of the access log.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use axum::{Router, routing::get};
use http::{StatusCode, header};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric, text::encode},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge},
    registry::{Registry, Unit},
};

use super::{
    connection_limit::{ConnectionLimit, open_connections},
    connection_outcome::ConnectionOutcome,
    log_writer::LogWriter,
    reload_status::{ReloadStatus, Reloaded},
};
use portcullis::{
    directory::{Directory, Following},
    problem::DenialCode,
};

/// The reason that a head was rejected before there was a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HeadError {
    Malformed,
    TooLarge,
    TargetTooLong,
    Late,
}

impl HeadError {
    const ALL: [Self; 4] = [Self::Malformed, Self::TooLarge, Self::TargetTooLong, Self::Late];

    /// Classifies an error of hyper.
    pub(super) fn from_error(error: &hyper::Error) -> Option<Self> {
        match error {
            // hyper distinguishes the two cases only in the text of the error.
            error if error.is_parse_too_large() && error.to_string().contains("URI") => {
                Some(Self::TargetTooLong)
            }
            error if error.is_parse_too_large() => Some(Self::TooLarge),
            error if error.is_parse() => Some(Self::Malformed),
            error if error.is_timeout() => Some(Self::Late),
            _ => None,
        }
    }

    pub(super) fn status(self) -> StatusCode {
        match self {
            Self::Malformed => StatusCode::BAD_REQUEST,
            Self::TooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::TargetTooLong => StatusCode::URI_TOO_LONG,
            Self::Late => StatusCode::REQUEST_TIMEOUT,
        }
    }

    pub(super) fn code(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::TooLarge => "head-too-large",
            Self::TargetTooLong => "target-too-long",
            Self::Late => "request-timeout",
        }
    }
}

/// The counters of one worker.
#[derive(Debug)]
pub(super) struct WorkerMetrics {
    outcomes: [AtomicU64; ConnectionOutcome::ALL.len()],
    unread: [AtomicU64; HeadError::ALL.len()],
    /// HTTP/2 connections that were closed because of frames without content.
    floods: AtomicU64,
    /// Connections that were upgraded to another protocol: all, and those that have ended.
    upgraded: AtomicU64,
    upgraded_ended: AtomicU64,
    /// Responses by status, starting with 100.
    answers: Box<[AtomicU64]>,
    /// Denials by code. Only the worker itself and readers of the metrics acquire this lock.
    refusals: Mutex<BTreeMap<&'static str, u64>>,
}

/// Counts an open connection that was upgraded, until it is dropped.
pub(super) struct UpgradedGuard<'a>(&'a WorkerMetrics);

impl Drop for UpgradedGuard<'_> {
    fn drop(&mut self) {
        add(Some(&self.0.upgraded_ended));
    }
}

fn add(counter: Option<&AtomicU64>) {
    if let Some(counter) = counter {
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

impl WorkerMetrics {
    fn new() -> Self {
        Self {
            outcomes: Default::default(),
            unread: Default::default(),
            floods: AtomicU64::new(0),
            upgraded: AtomicU64::new(0),
            upgraded_ended: AtomicU64::new(0),
            answers: (100..1_000).map(|_| AtomicU64::new(0)).collect(),
            refusals: Mutex::default(),
        }
    }

    pub(super) fn connection(&self, outcome: ConnectionOutcome) {
        add(self.outcomes.get(outcome as usize));
    }

    pub(super) fn unread(&self, unread: HeadError) {
        add(self.unread.get(unread as usize));
    }

    /// Counts an HTTP/2 connection that is closed because of frames without content.
    pub(super) fn flood(&self) {
        add(Some(&self.floods));
    }

    /// Counts a connection that was upgraded to another protocol. It is open until the guard is dropped.
    pub(super) fn upgraded(&self) -> UpgradedGuard<'_> {
        add(Some(&self.upgraded));
        UpgradedGuard(self)
    }

    /// Counts a response, and its code if the gateway denied the request.
    pub(super) fn answer(&self, status: StatusCode, code: Option<&DenialCode>) {
        add(self.answers.get(usize::from(status.as_u16() - 100)));
        if let Some(code) = code {
            *self.refusals.lock().unwrap_or_else(PoisonError::into_inner).entry(code.0).or_default() += 1;
        }
    }
}

/// The counters of all workers.
#[derive(Debug, Clone, Default)]
pub(super) struct Metrics(Arc<Mutex<Vec<Arc<WorkerMetrics>>>>);

impl Metrics {
    fn workers(&self) -> Vec<Arc<WorkerMetrics>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Creates the counters of another worker.
    pub(super) fn worker(&self) -> Arc<WorkerMetrics> {
        let counts = Arc::new(WorkerMetrics::new());
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(counts.clone());
        counts
    }
}

/// The metrics endpoint: renders all counters and the current gauges.
#[derive(Debug, Clone)]
pub(super) struct MetricsEndpoint {
    pub(super) metrics: Metrics,
    pub(super) connection_limit: Vec<Arc<ConnectionLimit>>,
    pub(super) directory: Arc<Directory>,
    pub(super) log: LogWriter,
    pub(super) reloads: Arc<ReloadStatus>,
}

impl MetricsEndpoint {
    fn text(&self) -> Result<String, fmt::Error> {
        let mut registry = Registry::with_prefix("portcullis");
        registry.register_collector(Box::new(self.clone()));
        let mut text = String::new();
        encode(&mut text, &registry)?;
        Ok(text)
    }

    /// Creates a router for `GET /metrics`.
    pub(super) fn router(self) -> Router {
        const TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
        let answer = move || {
            let text = self.text();
            async move {
                let text = text.map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)?;
                Ok::<_, StatusCode>(([(header::CONTENT_TYPE, TYPE)], text))
            }
        };
        Router::new().route("/metrics", get(answer))
    }
}

/// Encodes one counter family, with a value for each value of one label.
fn counters(
    encoder: &mut DescriptorEncoder<'_>,
    (name, help): (&str, &str),
    label: &'static str,
    values: impl Iterator<Item = (String, u64)>,
) -> fmt::Result {
    let mut family = encoder.encode_descriptor(name, help, None::<&Unit>, MetricType::Counter)?;
    for (value, count) in values {
        ConstCounter::new(count).encode(family.encode_family(&[(label, value)])?)?;
    }
    Ok(())
}

impl Collector for MetricsEndpoint {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let workers = self.metrics.workers();
        let sum = |counter: &dyn Fn(&WorkerMetrics) -> Option<&AtomicU64>| -> u64 {
            workers
                .iter()
                .filter_map(|counts| counter(counts))
                .map(|count| count.load(Ordering::Relaxed))
                .sum()
        };
        let outcomes = ConnectionOutcome::ALL
            .map(|outcome| (outcome.name().to_owned(), sum(&|counts| counts.outcomes.get(outcome as usize))));
        counters(
            &mut encoder,
            ("connections", "Client connections that were served or rejected, by outcome"),
            "outcome",
            outcomes.into_iter(),
        )?;
        let unread =
            HeadError::ALL.map(|why| (why.code().to_owned(), sum(&|counts| counts.unread.get(why as usize))));
        let help = "Request heads rejected before there was a request, by code";
        counters(&mut encoder, ("rejected_heads", help), "code", unread.into_iter())?;
        let answers = (0..900)
            .map(|at| ((at + 100).to_string(), sum(&|counts| counts.answers.get(at))))
            .filter(|(_, count)| *count > 0);
        counters(&mut encoder, ("responses", "Responses to requests, by status"), "status", answers)?;
        let mut refusals = BTreeMap::<&str, u64>::new();
        for counts in &workers {
            for (code, count) in &*counts.refusals.lock().unwrap_or_else(PoisonError::into_inner) {
                *refusals.entry(code).or_default() += count;
            }
        }
        let refusals = refusals.into_iter().map(|(code, count)| (code.to_owned(), count));
        counters(&mut encoder, ("denials", "Denials by the gateway, by code"), "code", refusals)?;
        for (name, help, count) in [
            (
                "http2_floods",
                "HTTP/2 connections closed because the client sent too many frames without content",
                sum(&|counts| Some(&counts.floods)),
            ),
            (
                "upgraded_connections",
                "Connections that were upgraded to another protocol, such as WebSocket",
                sum(&|counts| Some(&counts.upgraded)),
            ),
            (
                "log_lines_dropped",
                "Log lines dropped because standard output was not read fast enough or could not be written",
                self.log.dropped(),
            ),
            (
                "store_regressions",
                "Number of times that the store was found older than before, or replaced by another store",
                self.directory.regressions(),
            ),
        ] {
            let counter = ConstCounter::new(count);
            counter.encode(encoder.encode_descriptor(name, help, None::<&Unit>, MetricType::Counter)?)?;
        }
        let by_result = |count: &dyn Fn(Reloaded) -> u64| {
            Reloaded::ALL.map(|result| (result.name().to_owned(), count(result))).into_iter()
        };
        let configuration = by_result(&|result| self.reloads.configuration(result));
        let help = "Reloads of the configuration, by result";
        counters(&mut encoder, ("config_reloads", help), "result", configuration)?;
        let certificates = by_result(&|result| self.reloads.certificates(result));
        let help = "Reloads of certificates whose files have changed, by result";
        counters(&mut encoder, ("certificate_reloads", help), "result", certificates)?;
        for (name, help, value) in [
            (
                "open_upgraded_connections",
                "Open connections that were upgraded to another protocol",
                sum(&|counts| Some(&counts.upgraded))
                    .saturating_sub(sum(&|counts| Some(&counts.upgraded_ended))),
            ),
            ("open_connections", "Open connections", u64::from(open_connections(&self.connection_limit))),
            ("directory_keys", "Keys in the directory", self.directory.key_count() as u64),
            (
                "directory_applied_change",
                "Sequence number of the last registry change that the directory has applied",
                self.directory.applied(),
            ),
            (
                "config_current",
                "1 if the last reload of the configuration was applied, 0 if it was not",
                u64::from(self.reloads.is_current()),
            ),
            (
                "directory_in_sync",
                "1 if every change of the registry is applied, 0 if a part of the registry cannot be read",
                u64::from(self.directory.following() == Following::Current),
            ),
        ] {
            let gauge = ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX));
            gauge.encode(encoder.encode_descriptor(name, help, None::<&Unit>, MetricType::Gauge)?)?;
        }
        Ok(())
    }
}
