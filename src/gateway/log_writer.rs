//! Log lines on their way to standard output, written by a thread of their own.
//!
//! Logging appends to a bounded queue in memory and never waits. Only the thread waits for the reader of the
//! output, so a pipe that nobody reads stops neither a request nor the end of the process.
//!
//! `tracing-appender` does nearly the same; its guard prints to standard output when the queue is full while
//! it is dropped, which blocks for ever on the very pipe that is stuck, and its queue is bounded in lines
//! instead of bytes.

#![allow(clippy::disallowed_methods, reason = "the log's own thread may sleep, and nobody else waits for it")]

use std::{
    fs::File,
    io::{self, Write},
    os::fd::AsFd,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use tracing_subscriber::fmt::MakeWriter;

/// The most bytes of lines that wait to be written. As many again may be with the thread that writes them.
const QUEUE_BYTES: usize = 4 * 1024 * 1024;

/// The capacity that the two buffers keep when a burst is over.
const KEPT_BYTES: usize = 256 * 1024;

/// The pause before another try when the output is in non-blocking mode and full.
const FULL: Duration = Duration::from_millis(10);

/// A writer for whole log lines that never blocks: a line for which there is no room is dropped and counted.
#[derive(Debug, Clone)]
pub struct LogWriter(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    queue: Mutex<Queue>,
    /// Signalled when there are lines to write.
    filled: Condvar,
    /// Signalled when all lines are written.
    drained: Condvar,
    dropped: AtomicU64,
    limit: usize,
}

#[derive(Debug, Default)]
struct Queue {
    bytes: Vec<u8>,
    lines: u64,
    /// Set while the thread holds lines that it has not written yet.
    writing: bool,
}

impl LogWriter {
    /// Starts a thread that writes to standard output.
    ///
    /// # Errors
    /// When the descriptor cannot be duplicated or the thread cannot be started.
    pub fn stdout() -> io::Result<Self> {
        // Not through `std::io::Stdout`: its lock would be held while a write blocks.
        let output = File::from(io::stdout().as_fd().try_clone_to_owned()?);
        Self::start(output, QUEUE_BYTES)
    }

    fn start(output: impl Write + Send + 'static, limit: usize) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            queue: Mutex::default(),
            filled: Condvar::new(),
            drained: Condvar::new(),
            dropped: AtomicU64::new(0),
            limit,
        });
        let writing = shared.clone();
        thread::Builder::new().name("log".into()).spawn(move || writing.write_to(output))?;
        Ok(Self(shared))
    }

    /// The number of lines dropped so far.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.0.dropped.load(Ordering::Relaxed)
    }

    /// Waits until everything logged so far is written, at most for the given time. Returns `true` if it is.
    pub fn flush(&self, at_most: Duration) -> bool {
        let pending = |queue: &mut Queue| queue.writing || !queue.bytes.is_empty();
        let waited = self.0.drained.wait_timeout_while(self.0.queue(), at_most, pending);
        let (queue, _) = waited.unwrap_or_else(PoisonError::into_inner);
        !queue.writing && queue.bytes.is_empty()
    }
}

impl Shared {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, line: &[u8]) {
        let mut queue = self.queue();
        if queue.bytes.len() + line.len() > self.limit {
            drop(queue);
            self.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        queue.bytes.extend_from_slice(line);
        queue.lines += 1;
        let first = queue.lines == 1;
        drop(queue);
        if first {
            self.filled.notify_one();
        }
    }

    /// Writes what is queued, for as long as the process lives.
    fn write_to(&self, mut output: impl Write) {
        let mut batch = Vec::new();
        let mut reported = 0;
        loop {
            let lines = self.next(&mut batch);
            let written = write_all(&mut output, &batch);
            batch.clear();
            batch.shrink_to(KEPT_BYTES);
            if written.is_err() {
                // A closed pipe or a full disk: later lines may get through.
                self.dropped.fetch_add(lines, Ordering::Relaxed);
                continue;
            }
            let dropped = self.dropped.load(Ordering::Relaxed);
            if dropped > reported {
                tracing::warn!(
                    dropped = dropped - reported,
                    "log lines were dropped: standard output was not read fast enough, or could not be written"
                );
                reported = dropped;
            }
        }
    }

    /// Waits for lines and takes all of them; how many there are.
    fn next(&self, batch: &mut Vec<u8>) -> u64 {
        let mut queue = self.queue();
        queue.writing = false;
        if queue.bytes.is_empty() {
            self.drained.notify_all();
        }
        let waited = self.filled.wait_while(queue, |queue| queue.bytes.is_empty());
        let mut queue = waited.unwrap_or_else(PoisonError::into_inner);
        std::mem::swap(batch, &mut queue.bytes);
        queue.writing = true;
        std::mem::take(&mut queue.lines)
    }
}

/// As [`Write::write_all`], and patient with an output that another process has made non-blocking.
fn write_all(output: &mut impl Write, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match output.write(bytes) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => bytes = &bytes[written..],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => thread::sleep(FULL),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

impl Write for &LogWriter {
    /// Queues one line, all of it or nothing.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.push(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'w> MakeWriter<'w> for LogWriter {
    type Writer = &'w Self;

    fn make_writer(&'w self) -> Self::Writer {
        self
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(30);

    fn log(writer: &LogWriter, line: &str) {
        let mut writer = writer;
        writer.write_all(line.as_bytes()).unwrap();
    }

    #[test]
    fn a_reader_that_reads_nothing_stops_nobody_and_what_it_misses_is_counted() {
        let (mut reader, pipe) = io::pipe().unwrap();
        let writer = LogWriter::start(pipe, 100_000).unwrap();
        let line = format!("{}\n", "x".repeat(999));
        // More than the pipe, the thread and the queue hold together.
        for _ in 0..1_000 {
            log(&writer, &line);
        }
        assert!(writer.dropped() > 0);
        assert!(!writer.flush(Duration::from_millis(1)), "the wait for a stuck reader is bounded");
        let dropped = writer.dropped();
        thread::spawn(move || io::copy(&mut reader, &mut io::sink()));
        assert!(writer.flush(PATIENCE));
        assert_eq!(writer.dropped(), dropped, "what was queued is written");
    }

    #[test]
    fn lines_arrive_whole_and_in_order() {
        let (mut reader, pipe) = io::pipe().unwrap();
        let writer = LogWriter::start(pipe, QUEUE_BYTES).unwrap();
        for number in 0..100 {
            log(&writer, &format!("{number}\n"));
        }
        let lines: Vec<String> = (0..100).map(|number| format!("{number}\n")).collect();
        let expected = lines.concat();
        let mut read = vec![0; expected.len()];
        reader.read_exact(&mut read).unwrap();
        assert_eq!(String::from_utf8(read).unwrap(), expected);
        assert!(writer.flush(PATIENCE));
    }

    #[test]
    fn a_closed_pipe_ends_nothing() {
        let (reader, pipe) = io::pipe().unwrap();
        drop(reader);
        let writer = LogWriter::start(pipe, QUEUE_BYTES).unwrap();
        log(&writer, "lost\n");
        assert!(writer.flush(PATIENCE));
        assert_eq!(writer.dropped(), 1);
    }
}
