//! `portcullis init`: creates the secrets, the store and the first keys.

use std::io::{self, Write};

use anyhow::Context;

use super::{introduction, runtime, say};
use crate::{config::Config, gateway};

/// Creates the objects of a first start and shows the new keys on standard output.
///
/// # Errors
/// If the secrets or the store cannot be created, or the keys cannot be shown or stored.
pub(super) fn run(config: &Config, new_keys: bool) -> anyhow::Result<()> {
    let runtime = runtime()?;
    let Some(start) = runtime.block_on(gateway::bootstrap(config, new_keys))? else {
        return say(format_args!(
            "The store {} already has tenants; nothing was created. If the keys of the first run are lost, replace \
             them with `portcullis init --new-keys`.",
            config.store.path.display()
        ));
    };
    // The keys are shown at once and before any of them is stored, so that a key that was not shown is never accepted.
    let shown = {
        let mut out = io::stdout().lock();
        introduction::introduction(config, &start)
            .map_err(io::Error::other)
            .and_then(|text| out.write_all(text.as_bytes()))
            .and_then(|()| out.flush())
    };
    if let Err(error) = shown {
        runtime.block_on(start.abandon());
        // The I/O error is not attached as the cause: a closed pipe would then count as success, as it does for other
        // commands.
        anyhow::bail!("standard output failed: {error}; no key was stored. Run `portcullis init` again");
    }
    runtime.block_on(start.store()).context("cannot store the keys above; they are not valid")
}
