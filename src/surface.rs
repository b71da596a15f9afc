pub mod discue {
    use crate::*;
    use std::sync::Arc;
    #[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
    #[serde(rename_all = "snake_case")]
    pub enum Operation {
        Create,
        Get,
        Update,
    }
    pub struct Discue {
        pub registry: Arc<dyn registry::Registry>,
        pub directory: Arc<directory::Directory>,
        pub clock: Arc<dyn clock::Clock>,
        pub base_url: String,
        pub switched_off: Vec<Operation>,
    }
    pub fn router(_: Discue) -> axum::Router {
        axum::Router::new()
    }
}
pub mod apig {
    use crate::*;
    use std::sync::Arc;
    pub struct Apig {
        pub registry: Arc<dyn registry::Registry>,
        pub directory: Arc<directory::Directory>,
        pub clock: Arc<dyn clock::Clock>,
        pub sealer: Arc<app::Sealer>,
    }
    pub fn router(_: Apig) -> axum::Router {
        axum::Router::new()
    }
}
