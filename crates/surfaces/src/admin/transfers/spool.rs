//! Request bodies that are stored in a file until they are complete.

use std::{
    fs::File,
    io::{self, Seek, Write},
};

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use http_body::Body as _;
use http_body_util::BodyExt;
use sha2::{Digest, Sha256};
use tokio::{
    task::spawn_blocking,
    time::{Instant, timeout},
};

use crate::admin::settings::ImportOptions;
use portcullis::{
    Denial,
    limit::{MinDataRate, RateMeter},
};

/// Number of bytes that are written at once.
const PIECE: usize = 256 * 1024;

/// A complete uploaded file.
pub(super) struct Spool {
    pub(super) file: File,
    pub(super) sha256: [u8; 32],
}

impl Spool {
    /// Stores a body.
    ///
    /// # Errors
    /// 400 for an incomplete body, 408 for a slow one, 413 for one that is too large; 503 if it cannot be stored.
    pub(super) async fn receive(mut body: Body, imports: &ImportOptions) -> Result<Self, Denial> {
        let limit = imports.max_bytes;
        if body.size_hint().lower() > limit {
            return Err(Denial::ContentTooLarge { limit });
        }
        let folder = imports.folder.clone();
        let mut file = aside(move || tempfile::tempfile_in(folder)).await?;
        let (mut piece, mut hash) = (BytesMut::new(), Sha256::new());
        let (mut received, mut meter) = (0_u64, MinDataRate::default().meter());
        while let Some(data) = next(&mut body, &mut meter).await? {
            received = received.saturating_add(data.len() as u64);
            if received > limit {
                return Err(Denial::ContentTooLarge { limit });
            }
            hash.update(&data);
            piece.extend_from_slice(&data);
            if piece.len() >= PIECE {
                file = append(file, piece.split().freeze()).await?;
            }
        }
        let mut file = append(file, piece.freeze()).await?;
        let file = aside(move || file.rewind().map(|()| file)).await?;
        Ok(Self { file, sha256: hash.finalize().into() })
    }
}

/// Reads the next data of a body and requires a minimum data rate.
async fn next(body: &mut Body, meter: &mut RateMeter) -> Result<Option<Bytes>, Denial> {
    loop {
        let begun = Instant::now();
        let frame = timeout(meter.time_left(), body.frame()).await.map_err(|_| Denial::RequestTimeout)?;
        meter.set_waiting(begun.elapsed());
        match frame {
            None => return Ok(None),
            Some(Err(_)) => {
                return Err(Denial::bad_request("The body of the request is incomplete."));
            }
            // Trailers are ignored.
            Some(Ok(frame)) => {
                if let Ok(data) = frame.into_data() {
                    meter.moved(data.len() as u64);
                    return Ok(Some(data));
                }
            }
        }
    }
}

async fn append(mut file: File, piece: Bytes) -> Result<File, Denial> {
    aside(move || file.write_all(&piece).map(|()| file)).await
}

/// Runs file operations on a blocking thread, because the calling thread serves requests.
async fn aside<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, Denial> {
    let done = spawn_blocking(work).await.unwrap_or_else(|error| Err(io::Error::other(error)));
    done.map_err(|error| {
        tracing::error!("failed to store an uploaded file: {error}");
        Denial::unavailable("The gateway could not store the file.", super::RETRY_AFTER)
    })
}
