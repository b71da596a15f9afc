//! Content that is kept in a file until all of it is there.

use std::{
    fs::File,
    io::{self, Seek, Write},
    path::PathBuf,
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

use crate::{
    Denial,
    limit::{RateMeter, MinDataRate},
};

/// How much is written at once.
const PIECE: usize = 256 * 1024;

/// How files are taken in.
#[derive(Debug, Clone)]
pub struct ImportOptions {
    /// The most bytes of one; beyond it 413.
    pub max_bytes: u64,
    /// Where it is kept while it arrives: under no name, so that it is gone with the process. There is one at a time.
    pub folder: PathBuf,
}

/// 1 GiB, in the system's folder for such files.
impl Default for ImportOptions {
    fn default() -> Self {
        Self { max_bytes: 1 << 30, folder: std::env::temp_dir() }
    }
}

/// A file that was taken in whole.
pub(super) struct Spool {
    pub(super) file: File,
    pub(super) sha256: [u8; 32],
}

impl Spool {
    /// Takes a body in.
    ///
    /// # Errors
    /// 400 when it broke off, 408 when it came too slowly, 413 when it is too long; 503 when it cannot be written.
    pub(super) async fn receive(mut body: Body, imports: &ImportOptions) -> Result<Self, Denial> {
        let limit = imports.max_bytes;
        if body.size_hint().lower() > limit {
            return Err(Denial::ContentTooLarge { limit });
        }
        let folder = imports.folder.clone();
        let mut file = aside(move || tempfile::tempfile_in(folder)).await?;
        let (mut piece, mut hash) = (BytesMut::new(), Sha256::new());
        let (mut taken, mut meter) = (0_u64, MinDataRate::default().meter());
        while let Some(data) = next(&mut body, &mut meter).await? {
            taken = taken.saturating_add(data.len() as u64);
            if taken > limit {
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

/// The next data of a body, which may not come more slowly than a pace.
async fn next(body: &mut Body, meter: &mut RateMeter) -> Result<Option<Bytes>, Denial> {
    loop {
        let begun = Instant::now();
        let frame = timeout(meter.time_left(), body.frame()).await.map_err(|_| Denial::RequestTimeout)?;
        meter.set_waiting(begun.elapsed());
        match frame {
            None => return Ok(None),
            Some(Err(_)) => {
                return Err(Denial::bad_request("The request's content cannot be read to its end."));
            }
            // Trailers say nothing here.
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

/// Requests are served on the thread that asks for this: files are for another one.
async fn aside<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, Denial> {
    let done = spawn_blocking(work).await.unwrap_or_else(|error| Err(io::Error::other(error)));
    done.map_err(|error| {
        tracing::error!("a file that is imported cannot be kept: {error}");
        Denial::unavailable("The file cannot be kept here just now.", super::RETRY_AFTER)
    })
}
