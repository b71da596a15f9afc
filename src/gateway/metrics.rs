//! What is counted, and how it is told: in the text format of Prometheus (`OpenMetrics`).
//!
//! Each worker counts for itself, so that counting is no shared memory that they wait for; whoever asks
//! gets the sums. The labels are closed lists: nothing a client sends becomes one.

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
    log_writer::LogWriter,
};
use crate::{
    directory::{Directory, Following},
    problem::DenialCode,
};

/// What becomes of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ConnectionOutcome {
    /// HTTP is spoken on it.
    Served,
    /// `limits.connections` are open.
    NoPlace,
    /// Its address has `limits.connections_per_address`.
    NoPlaceForAddress,
    /// TLS did not come about, or not in time.
    NoHandshake,
}

impl ConnectionOutcome {
    const ALL: [Self; 4] = [Self::Served, Self::NoPlace, Self::NoPlaceForAddress, Self::NoHandshake];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Served => "served",
            Self::NoPlace => "no-place",
            Self::NoPlaceForAddress => "no-place-for-address",
            Self::NoHandshake => "no-handshake",
        }
    }
}

/// Why the engine refused a head before there was a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HeadError {
    Malformed,
    TooLarge,
    TargetTooLong,
    Late,
}

impl HeadError {
    const ALL: [Self; 4] = [Self::Malformed, Self::TooLarge, Self::TargetTooLong, Self::Late];

    /// What hyper made of it.
    pub(super) fn from_error(error: &hyper::Error) -> Option<Self> {
        match error {
            // hyper tells the two apart, but only in words.
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

/// What one worker has counted.
#[derive(Debug)]
pub(super) struct WorkerMetrics {
    fates: [AtomicU64; ConnectionOutcome::ALL.len()],
    unread: [AtomicU64; HeadError::ALL.len()],
    /// HTTP/2 connections that were ended over frames that carry nothing.
    floods: AtomicU64,
    /// By status, from 100 on.
    answers: Box<[AtomicU64]>,
    /// By code. Only the worker itself and who asks for the sums take this lock.
    refusals: Mutex<BTreeMap<&'static str, u64>>,
}

fn add(counter: Option<&AtomicU64>) {
    if let Some(counter) = counter {
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

impl WorkerMetrics {
    fn new() -> Self {
        Self {
            fates: Default::default(),
            unread: Default::default(),
            floods: AtomicU64::new(0),
            answers: (100..1_000).map(|_| AtomicU64::new(0)).collect(),
            refusals: Mutex::default(),
        }
    }

    pub(super) fn connection(&self, fate: ConnectionOutcome) {
        add(self.fates.get(fate as usize));
    }

    pub(super) fn unread(&self, unread: HeadError) {
        add(self.unread.get(unread as usize));
    }

    /// An HTTP/2 connection that is ended over frames that carry nothing.
    pub(super) fn flood(&self) {
        add(Some(&self.floods));
    }

    /// An answer, and its code when it is a refusal by us.
    pub(super) fn answer(&self, status: StatusCode, code: Option<&DenialCode>) {
        add(self.answers.get(usize::from(status.as_u16() - 100)));
        if let Some(code) = code {
            *self.refusals.lock().unwrap_or_else(PoisonError::into_inner).entry(code.0).or_default() += 1;
        }
    }
}

/// The counts of all workers.
#[derive(Debug, Clone, Default)]
pub(super) struct Metrics(Arc<Mutex<Vec<Arc<WorkerMetrics>>>>);

impl Metrics {
    fn workers(&self) -> Vec<Arc<WorkerMetrics>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Where another worker counts.
    pub(super) fn worker(&self) -> Arc<WorkerMetrics> {
        let counts = Arc::new(WorkerMetrics::new());
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(counts.clone());
        counts
    }
}

/// What is told: all counts, and what there is now.
#[derive(Debug, Clone)]
pub(super) struct MetricsEndpoint {
    pub(super) metrics: Metrics,
    pub(super) doors: Vec<Arc<ConnectionLimit>>,
    pub(super) directory: Arc<Directory>,
    pub(super) log: LogWriter,
}

impl MetricsEndpoint {
    fn text(&self) -> Result<String, fmt::Error> {
        let mut registry = Registry::with_prefix("portcullis");
        registry.register_collector(Box::new(self.clone()));
        let mut text = String::new();
        encode(&mut text, &registry)?;
        Ok(text)
    }

    /// Answers `GET /metrics`.
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

/// One name, and a value for each value of one label.
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
        let fates =
            ConnectionOutcome::ALL.map(|fate| (fate.name().to_owned(), sum(&|counts| counts.fates.get(fate as usize))));
        counters(
            &mut encoder,
            ("connections", "Connections, by what became of them"),
            "fate",
            fates.into_iter(),
        )?;
        let unread =
            HeadError::ALL.map(|why| (why.code().to_owned(), sum(&|counts| counts.unread.get(why as usize))));
        let help = "Heads refused before there was a request";
        counters(&mut encoder, ("unread_heads", help), "code", unread.into_iter())?;
        let answers = (0..900)
            .map(|at| ((at + 100).to_string(), sum(&|counts| counts.answers.get(at))))
            .filter(|(_, count)| *count > 0);
        counters(&mut encoder, ("answers", "Answers to requests, by status"), "status", answers)?;
        let mut refusals = BTreeMap::<&str, u64>::new();
        for counts in &workers {
            for (code, count) in &*counts.refusals.lock().unwrap_or_else(PoisonError::into_inner) {
                *refusals.entry(code).or_default() += count;
            }
        }
        let refusals = refusals.into_iter().map(|(code, count)| (code.to_owned(), count));
        counters(&mut encoder, ("refusals", "Answers of the gateway's own, by code"), "code", refusals)?;
        let floods = ConstCounter::new(sum(&|counts| Some(&counts.floods)));
        let help = "HTTP/2 connections ended because their client sent too many frames that carry nothing";
        floods.encode(encoder.encode_descriptor(
            "http2_floods",
            help,
            None::<&Unit>,
            MetricType::Counter,
        )?)?;
        let dropped = ConstCounter::new(self.log.dropped());
        let help =
            "Log lines dropped because standard output was not read fast enough or could not be written";
        dropped.encode(encoder.encode_descriptor(
            "log_lines_dropped",
            help,
            None::<&Unit>,
            MetricType::Counter,
        )?)?;
        for (name, help, value) in [
            ("open_connections", "Connections that are open", u64::from(open_connections(&self.doors))),
            ("keys", "Keys that the directory knows", self.directory.keys() as u64),
            (
                "applied_change",
                "The number of the last change of the registry that is applied",
                self.directory.applied(),
            ),
            (
                "following",
                "Whether every change of the registry is applied: 1, or 0 when something of it cannot be read",
                u64::from(self.directory.following() == Following::Current),
            ),
            (
                "store_regressions",
                "How often the store was found to have gone back, or to be another one",
                self.directory.regressions(),
            ),
        ] {
            let gauge = ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX));
            gauge.encode(encoder.encode_descriptor(name, help, None::<&Unit>, MetricType::Gauge)?)?;
        }
        Ok(())
    }
}
