//! Finds the frames of an HTTP/2 connection.

/// The length of a frame header (RFC 9113, section 4.1).
pub(super) const HEAD_BYTES: usize = 9;

pub(super) const DATA: u8 = 0x0;
pub(super) const HEADERS: u8 = 0x1;
pub(super) const PADDED: u8 = 0x8;

/// The parts of a frame header that the budget needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Frame {
    pub(super) kind: u8,
    pub(super) stream: u32,
    /// The length of the payload in bytes, without padding.
    pub(super) content: u32,
}

/// Finds the frames in one direction of a connection, for any division of the bytes into reads.
#[derive(Debug, Default)]
pub(super) struct Scanner {
    /// The bytes of the frame header read so far, and one byte more for padded DATA frames.
    head: [u8; HEAD_BYTES + 1],
    filled: usize,
    /// The bytes left of the preface or of the last frame's payload.
    skip: usize,
}

impl Scanner {
    /// Creates a scanner for a stream whose first bytes are not frames.
    pub(super) fn skipping(skip: usize) -> Self {
        Self { skip, ..Self::default() }
    }

    /// Returns `true` if the next byte begins a frame.
    pub(super) fn is_between_frames(&self) -> bool {
        self.skip == 0 && self.filled == 0
    }

    /// Passes each frame whose header is complete to a callback.
    pub(super) fn scan(&mut self, mut bytes: &[u8], mut found: impl FnMut(Frame)) {
        loop {
            let skipped = self.skip.min(bytes.len());
            self.skip -= skipped;
            bytes = &bytes[skipped..];
            if bytes.is_empty() {
                return;
            }
            let wanted = self.wanted();
            let copied = (wanted - self.filled).min(bytes.len());
            self.head[self.filled..self.filled + copied].copy_from_slice(&bytes[..copied]);
            self.filled += copied;
            bytes = &bytes[copied..];
            // When its header is complete, a frame may turn out to have one more byte to read.
            if self.filled == self.wanted() {
                let (frame, skip) = self.frame();
                (self.filled, self.skip) = (0, skip);
                found(frame);
            }
        }
    }

    /// Returns the number of bytes to read at the beginning of the current frame.
    fn wanted(&self) -> usize {
        let [high, middle, low, kind, flags, ..] = self.head;
        let has_padding = kind == DATA && flags & PADDED != 0 && (high, middle, low) != (0, 0, 0);
        if self.filled >= HEAD_BYTES && has_padding { HEAD_BYTES + 1 } else { HEAD_BYTES }
    }

    /// Returns the frame whose header is complete, and the number of its bytes that are left.
    fn frame(&self) -> (Frame, usize) {
        let [high, middle, low, kind, _, stream @ .., padding] = self.head;
        let length = u32::from_be_bytes([0, high, middle, low]);
        let beyond_head = self.filled - HEAD_BYTES;
        let padding = if beyond_head == 0 { 0 } else { u32::from(padding) + 1 };
        let stream = u32::from_be_bytes(stream) & 0x7fff_ffff;
        let frame = Frame { kind, stream, content: length.saturating_sub(padding) };
        (frame, (length as usize).saturating_sub(beyond_head))
    }
}
