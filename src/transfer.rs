//! Everything in a registry as one file and back, and keys that come from other gateways.
//!
//! [`Export`] writes JSON, an object to a line: first what the file is, then one line for each entity, in an
//! order in which each stands behind those it needs, then when credentials were last used, and last what proves
//! that nothing is missing or altered:
//!
//! ```text
//! {"head":{"format":"portcullis-export","version":1,"program":"0.1.0","seq":41,"at":"2026-01-01T00:00:00Z",…}}
//! {"tenant":{…}}
//! {"plan":{…}}
//! {"caller":{…}}
//! {"credential":{…}}
//! {"lock":{…}}
//! {"grant":{…}}
//! {"use":{"credential":"…","at":"…"}}
//! {"end":{"counts":{…},"peppers":[1],"seal_keys":[1],"sha256":"…"}}
//! ```
//!
//! Secrets stay as they are in the store: keys as their keyed digests, app secrets sealed. Both are worth
//! something only with the secrets of the installation that wrote the file. Which of them it needs is said by
//! version at its end; `head` tells them from others of the same version by a check, from which nothing of them
//! can be computed. `sha256` is over all lines before the last.
//!
//! [`Import`] reads such a file into a registry, whole or not at all. [`KeyImport`] reads [`Rows`] of keys, or of
//! their SHA-256 as other gateways keep them, and makes credentials of them.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use std::sync::Arc;
//! use portcullis::{
//!     app::{Actor, Pepper, Peppers, SealKey, Sealer},
//!     clock::{Clock, SystemClock},
//!     registry::memory::Memory,
//!     transfer::{Export, Import, Secrets},
//! };
//!
//! let clock = Arc::new(SystemClock::new());
//! let (peppers, sealer) = (Peppers::new(Pepper::new(1, &[1; 32])), Sealer::new(SealKey::new(1, &[2; 32])));
//! let secrets = Secrets::of(&peppers, &sealer);
//!
//! let mut file = Vec::new();
//! let mut export = Export::begin(&Memory::new(clock.clone()), &secrets, clock.now().time).await?;
//! while let Some(lines) = export.next().await? {
//!     file.extend(lines);
//! }
//!
//! let registry = Memory::new(clock);
//! Import::new(&mut &*file, secrets).run(&registry, &Actor::system("example")).await?;
//! # Ok(())
//! # }
//! ```

mod csv;
mod export;
mod fields;
mod import;
mod keys;
mod ndjson;
mod error;
mod key_rows;
mod secrets;

pub use export::Export;
pub use import::{Import, Imported};
pub use keys::{ImportedKeys, KeyImport};
pub use error::{LineError, ImportError};
pub use key_rows::{KeyFileFormat, MAX_FILE_BYTES, MAX_ROWS, KeyRows};
pub use secrets::{SecretFingerprint, SecretFingerprints};
