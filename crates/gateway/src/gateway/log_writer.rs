//! Writes log lines to standard output in a thread of its own.
//!
//! Logging appends to a bounded queue in memory and never waits. Only the log thread waits for the reader of the
//! output, so a pipe that is not read blocks neither requests nor the shutdown.
//!
//! `tracing-appender` does nearly the same. But its guard prints to standard output if the queue is full when it is
//! dropped, which blocks for ever on a pipe that is not read, and its queue is limited in lines instead of bytes.

#![allow(clippy::disallowed_methods, reason = "only the log thread sleeps, and no other thread waits for it")]

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

/// The most bytes of lines that wait to be written. The log thread may hold as many again.
const QUEUE_BYTES: usize = 4 * 1024 * 1024;

/// The capacity that each of the two buffers retains after a burst.
const KEPT_BYTES: usize = 256 * 1024;

/// The pause before a retry if the output is in non-blocking mode and full.
const FULL: Duration = Duration::from_millis(10);

/// A writer for whole log lines that never blocks. If a line does not fit into the queue, it is dropped and counted.
#[derive(Debug, Clone)]
pub struct LogWriter(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    queue: Mutex<Queue>,
    /// Notified when there are lines to write.
    filled: Condvar,
    /// Notified when all lines are written.
    drained: Condvar,
    dropped: AtomicU64,
    limit: usize,
}

#[derive(Debug, Default)]
struct Queue {
    bytes: Vec<u8>,
    lines: u64,
    /// Set while the log thread holds lines that it has not written yet.
    writing: bool,
}

impl LogWriter {
    /// Starts a thread that writes to standard output.
    ///
    /// # Errors
    /// Fails if the descriptor cannot be duplicated or the thread cannot be started.
    pub fn stdout() -> io::Result<Self> {
        // Does not use `std::io::Stdout`, because its lock would be held while a write blocks.
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

    /// Returns the number of lines dropped so far.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.0.dropped.load(Ordering::Relaxed)
    }

    /// Waits until all lines are written, at most for the given time. Returns `true` if they are.
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

    /// Writes the queued lines, as long as the process lives.
    fn write_to(&self, mut output: impl Write) {
        let mut batch = Vec::new();
        let mut reported = 0;
        loop {
            let lines = self.next(&mut batch);
            let written = write_all(&mut output, &batch);
            batch.clear();
            batch.shrink_to(KEPT_BYTES);
            if written.is_err() {
                // The pipe is closed or the disk is full. Later lines may succeed.
                self.dropped.fetch_add(lines, Ordering::Relaxed);
                continue;
            }
            let dropped = self.dropped.load(Ordering::Relaxed);
            if dropped > reported {
                tracing::warn!(
                    dropped = dropped - reported,
                    "log lines dropped: standard output was read too slowly or could not be written"
                );
                reported = dropped;
            }
        }
    }

    /// Waits for lines, moves them into the batch, and returns their number.
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

/// Writes all bytes, like [`Write::write_all`], and retries if another process has set the output to non-blocking mode.
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
    /// Queues one line, or drops it as a whole.
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

    const TIMEOUT: Duration = Duration::from_secs(30);

    fn log(writer: &LogWriter, line: &str) {
        let mut writer = writer;
        writer.write_all(line.as_bytes()).unwrap();
    }

    #[test]
    fn stalled_reader_blocks_nothing_and_lost_lines_are_counted() {
        let (mut reader, pipe) = io::pipe().unwrap();
        let writer = LogWriter::start(pipe, 100_000).unwrap();
        let line = format!("{}\n", "x".repeat(999));
        // More than the pipe, the log thread and the queue hold together.
        for _ in 0..1_000 {
            log(&writer, &line);
        }
        assert!(writer.dropped() > 0);
        assert!(!writer.flush(Duration::from_millis(1)), "the wait for a stuck reader is bounded");
        let dropped = writer.dropped();
        thread::spawn(move || io::copy(&mut reader, &mut io::sink()));
        assert!(writer.flush(TIMEOUT));
        assert_eq!(writer.dropped(), dropped, "queued lines are written");
    }

    #[test]
    fn lines_arrive_complete_and_in_order() {
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
        assert!(writer.flush(TIMEOUT));
    }

    #[test]
    fn closed_pipe_does_not_end_the_process() {
        let (reader, pipe) = io::pipe().unwrap();
        drop(reader);
        let writer = LogWriter::start(pipe, QUEUE_BYTES).unwrap();
        log(&writer, "lost\n");
        assert!(writer.flush(TIMEOUT));
        assert_eq!(writer.dropped(), 1);
    }
}
