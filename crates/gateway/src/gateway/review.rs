//! Checks a configuration file on this machine.

use std::path::Path;

use super::{tls, upstream::Upstream};
use crate::config::{self, Config, ConfigError, Report, Review, Step};

/// Reads and checks a configuration file. The findings include those that depend on this machine: files that are missing,
/// and certificates that cannot be used.
///
/// # Errors
/// If the file cannot be read.
pub fn reviewed(file: &Path) -> Result<Review, ConfigError> {
    let mut review = Review::of_file(file)?;
    review.inspect_files();
    review.inspect(check);
    Ok(review)
}

fn check(config: &Config, report: &mut Report) {
    for (at, listener) in config.listeners.iter().enumerate() {
        let place = ["listeners".into(), at.into(), "tls".into()];
        check_certificate(listener.tls.as_ref(), &place, report);
    }
    let admin = config.admin.as_ref().and_then(|admin| admin.tls.as_ref());
    check_certificate(admin, &["admin".into(), "tls".into()], report);
    for (name, upstream) in &config.upstreams {
        let place = ["upstreams".into(), name.as_str().into()];
        if let Err(error) = Upstream::new(name, upstream, config, None) {
            report.error(&place, format!("{error:#}"));
        }
    }
}

fn check_certificate(tls: Option<&config::Tls>, place: &[Step<'_>], report: &mut Report) {
    if let Some(Err(error)) = tls.map(tls::load) {
        report.error(place, format!("{error:#}"));
    }
}
