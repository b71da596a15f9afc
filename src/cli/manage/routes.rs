//! `portcullis route`.

use clap::Subcommand;

use super::{Desk, encoded};

/// What to do with routes; they stand in the configuration.
#[derive(Debug, Subcommand)]
pub enum Routes {
    /// Tell all, in the order of the configuration.
    List,
    /// Tell one.
    Show {
        /// Its name.
        route: String,
    },
}

pub(super) async fn run(command: Routes, desk: &mut Desk<'_>) -> anyhow::Result<()> {
    match command {
        Routes::List => {
            let columns = [
                ("NAME", "/name"),
                ("HOST", "/host"),
                ("PATH", "/path"),
                ("METHODS", "/methods"),
                ("UPSTREAM", "/upstream"),
                ("SURFACE", "/surface"),
                ("POLICIES", "/policies"),
            ];
            desk.list("/routes", &[], &columns).await
        }
        Routes::Show { route } => desk.show(&format!("/routes/{}", encoded(&route))).await,
    }
}
