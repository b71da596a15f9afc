//! Exports and imports through the admin API of a gateway.

use std::{
    io::{self, BufRead},
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{Method, header};
use http_body::Frame;
use serde_json::Value;

use crate::cli::client::AdminClient;

/// The media type of NDJSON: one JSON object per line.
pub(super) const LINES: &str = "application/x-ndjson";
pub(super) const ROWS: &str = "text/csv";

/// The file to send.
type Input = Box<dyn BufRead + Send + Sync>;

/// A request body that streams a file.
struct Content(Input);

impl http_body::Body for Content {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        Poll::Ready(match self.0.fill_buf() {
            Ok([]) => None,
            Ok(piece) => {
                let piece = Bytes::copy_from_slice(piece);
                self.0.consume(piece.len());
                Some(Ok(Frame::data(piece)))
            }
            Err(error) => Some(Err(error)),
        })
    }
}

/// Streams an export to `each`.
pub(super) async fn export(
    api: &AdminClient,
    mut each: impl FnMut(&[u8]) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let mut answer = api.stream(Method::GET, "/export", None).await?;
    while let Some(piece) = answer.chunk().await? {
        each(&piece)?;
    }
    Ok(())
}

/// Sends a file and returns the response of the import. `given` lists the query parameters with their values.
pub(super) async fn import(
    api: &AdminClient,
    path: &str,
    given: &[(&str, bool)],
    media_type: &str,
    file: Input,
) -> anyhow::Result<Value> {
    let given = given.iter().filter(|(_, given)| *given).map(|(name, _)| format!("{name}=true"));
    let query = given.collect::<Vec<_>>().join("&");
    let content = (header::HeaderValue::from_str(media_type)?, reqwest::Body::wrap(Content(file)));
    let answer = api.stream(Method::POST, &format!("{path}?{query}"), Some(content)).await?;
    Ok(serde_json::from_slice(&answer.bytes().await?)?)
}
