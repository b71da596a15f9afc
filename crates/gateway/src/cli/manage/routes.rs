//! `portcullis route`.

use clap::Subcommand;

use super::{CommandContext, encoded};

/// Operations on routes, which the configuration file defines.
#[derive(Debug, Subcommand)]
pub enum Routes {
    /// List all routes, in the order of the configuration.
    List,
    /// Show a route.
    Show {
        /// The route's name.
        route: String,
    },
}

pub(super) async fn run(command: Routes, context: &mut CommandContext<'_>) -> anyhow::Result<()> {
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
            context.list("/routes", &[], &columns).await
        }
        Routes::Show { route } => context.show(&format!("/routes/{}", encoded(&route))).await,
    }
}
