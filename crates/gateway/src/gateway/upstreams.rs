//! The upstreams of a gateway. A reload keeps those whose settings have not changed.

use std::{
    collections::BTreeMap,
    sync::{Arc, OnceLock},
    time::Duration,
};

use http::HeaderName;
use tokio::{runtime::Handle, task::JoinSet, time::Instant};

use super::{resolver::Resolver, upstream::Upstream};
use crate::{
    config::{self, Config, RemovedHeaders},
    file_state::FileState,
};
use portcullis::limit::MinDataRate;

/// The upstreams, by name.
pub(super) struct Upstreams(BTreeMap<String, Arc<Entry>>);

struct Entry {
    settings: Settings,
    upstream: Arc<Upstream>,
    /// The tasks that follow names and check the health of targets. They end when the entry is dropped.
    tasks: OnceLock<JoinSet<()>>,
    since: Instant,
    /// The time in which the names of targets should be resolved.
    patience: Duration,
}

/// All settings that an upstream depends on.
#[derive(PartialEq, Eq)]
struct Settings {
    upstream: config::Upstream,
    informational: bool,
    pace: MinDataRate,
    removed_headers: RemovedHeaders,
    caller_id_header: HeaderName,
    media_type_header: Option<HeaderName>,
    /// The states of the files in `tls`.
    files: [Option<FileState>; 3],
}

impl Settings {
    fn new(name: &str, upstream: &config::Upstream, config: &Config) -> Self {
        let tls = &upstream.tls;
        let files = [&tls.ca, &tls.certificate, &tls.key];
        Self {
            files: files.map(|file| file.as_deref().and_then(FileState::of)),
            upstream: upstream.clone(),
            informational: Upstream::is_informational(name, config),
            pace: config.limits.pace(),
            removed_headers: config.server.removed_headers.clone(),
            caller_id_header: config.server.caller_id_header.name().clone(),
            media_type_header: config.server.media_type_header.as_ref().map(|field| field.name().clone()),
        }
    }
}

impl Upstreams {
    /// Creates the upstreams of a configuration. Those of `before` whose settings have not changed are kept, with their
    /// connections and the health of their targets.
    ///
    /// # Errors
    /// If the certificates for an upstream cannot be used.
    pub(super) fn new(config: &Config, before: Option<&Self>) -> anyhow::Result<Self> {
        let entry = |(name, upstream): (&String, &config::Upstream)| {
            let settings = Settings::new(name, upstream, config);
            let known = before.and_then(|before| before.0.get(name));
            let entry = match known.filter(|known| known.settings == settings) {
                Some(known) => known.clone(),
                None => Arc::new(Entry {
                    settings,
                    upstream: Arc::new(Upstream::new(
                        name,
                        upstream,
                        config,
                        known.map(|known| &*known.upstream),
                    )?),
                    tasks: OnceLock::new(),
                    since: Instant::now(),
                    patience: config.dns.timeout.duration(),
                }),
            };
            Ok((name.clone(), entry))
        };
        config.upstreams.iter().map(entry).collect::<anyhow::Result<_>>().map(Self)
    }

    /// Returns an upstream.
    pub(super) fn get(&self, name: &str) -> Option<&Arc<Upstream>> {
        self.0.get(name).map(|entry| &entry.upstream)
    }

    /// Returns the names of upstreams that have no address yet. An upstream is left out when the time for the first
    /// look-up is over: the requests for others are served, however long its name stays unknown.
    pub(super) fn unresolved(&self) -> impl Iterator<Item = &str> {
        let waits = |entry: &Entry| !entry.upstream.has_address() && entry.since.elapsed() < entry.patience;
        self.0.iter().filter(move |(_, entry)| waits(entry)).map(|(name, _)| name.as_str())
    }

    /// Starts the tasks of the upstreams that have none yet. They run until the upstream is removed or replaced.
    pub(super) fn start(&self, resolver: &Resolver, runtime: &Handle) {
        for entry in self.0.values() {
            entry.tasks.get_or_init(|| {
                let mut tasks = JoinSet::new();
                for task in entry.upstream.tasks(resolver) {
                    tasks.spawn_on(task, runtime);
                }
                tasks
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn upstreams(settings: &str, before: Option<&Upstreams>) -> Upstreams {
        let head = "store.path = \"x\"\nsecrets.file = \"x\"\nlisteners = [{ address = \"127.0.0.1:0\" }]\n";
        Upstreams::new(&Config::parse(&format!("{head}{settings}")).unwrap(), before).unwrap()
    }

    const BOTH: &str = "upstreams.a.address = \"127.0.0.1:1\"\nupstreams.b.address = \"127.0.0.1:2\"\n";

    fn is_kept(name: &str, after: &str) -> bool {
        let before = upstreams(BOTH, None);
        let after = upstreams(after, Some(&before));
        after.get(name).is_some_and(|one| Arc::ptr_eq(one, before.get(name).unwrap()))
    }

    #[test]
    fn only_unchanged_upstreams_are_kept() {
        assert!(is_kept("a", BOTH));
        let changed = BOTH.replace("127.0.0.1:2", "127.0.0.1:3");
        assert!(is_kept("a", &changed) && !is_kept("b", &changed));
        assert!(!is_kept("b", "upstreams.a.address = \"127.0.0.1:1\"\n"));
        for shared in ["server.removed_headers = []\n", "limits.body_timeout = \"7s\"\n"] {
            assert!(!is_kept("a", &format!("{shared}{BOTH}")), "{shared}");
        }
    }
}
