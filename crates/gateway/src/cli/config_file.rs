//! The option that names the configuration file.

use std::path::PathBuf;

use crate::config::{Config, ConfigError};

// Without a doc comment, which the help of each command would show.
#[derive(Debug, clap::Args)]
pub(super) struct ConfigFile {
    /// The configuration file (TOML); `config/gateway.toml` documents every setting. Relative paths in the file are
    /// relative to its folder.
    #[arg(
        long,
        short,
        value_name = "FILE",
        global = true,
        default_value = "config/gateway.toml",
        env = "PORTCULLIS_CONFIG"
    )]
    pub(super) config: PathBuf,
}

impl ConfigFile {
    /// Loads the configuration.
    ///
    /// # Errors
    /// If the file cannot be read, or is invalid.
    pub(super) fn load(&self) -> Result<Config, ConfigError> {
        Config::load(&self.config)
    }
}
