//! Where the output of a process goes: the log, whoever watches, and what is kept.

use super::Stream;
use crate::secret::{Mask, MaskStream};
use std::fs::File;
use std::io::{self, Write as _};
use zeroize::{Zeroize as _, Zeroizing};

/// How much of the end of the error output is kept.
const STDERR_KEPT: usize = 64 * 1024;
/// The longest line that is shown in one piece.
const LINE: usize = 4096;
/// The longest that a log becomes: a step that prints without end must not fill the disk that the journal needs.
pub(super) const LOG: u64 = 64 * 1024 * 1024;

pub(super) struct Output<L> {
    log: Option<File>,
    /// How much more may be written to it.
    log_room: u64,
    log_error: Option<io::Error>,
    lines: L,
    out: Side,
    err: Side,
    stdout: Zeroizing<Vec<u8>>,
    capture: usize,
    truncated: bool,
    stderr: Zeroizing<Vec<u8>>,
    masked: Vec<u8>,
}

/// What was kept.
pub(super) struct Kept {
    pub(super) stdout: Zeroizing<Vec<u8>>,
    pub(super) stdout_truncated: bool,
    pub(super) stderr: Zeroizing<String>,
    pub(super) log_error: Option<io::Error>,
}

struct Side {
    mask: MaskStream,
    /// The masked beginning of a line.
    line: Vec<u8>,
}

impl<L: Fn(Stream, &str)> Output<L> {
    pub(super) fn new(mask: &Mask, log: Option<File>, capture: usize, lines: L) -> Self {
        let side = || Side {
            mask: mask.stream(),
            line: Vec::new(),
        };
        let written = log.as_ref().and_then(|log| log.metadata().ok());
        Self {
            log_room: LOG.saturating_sub(written.map_or(0, |file| file.len())),
            log,
            log_error: None,
            lines,
            out: side(),
            err: side(),
            stdout: Zeroizing::default(),
            capture,
            truncated: false,
            stderr: Zeroizing::default(),
            masked: Vec::new(),
        }
    }

    /// Takes a piece of output.
    pub(super) fn take(&mut self, stream: Stream, bytes: &[u8]) {
        match stream {
            Stream::Stdout => {
                let room = self.capture - self.stdout.len();
                self.truncated |= bytes.len() > room;
                keep(&mut self.stdout, &bytes[..bytes.len().min(room)]);
            }
            Stream::Stderr => {
                keep(&mut self.stderr, bytes);
                if self.stderr.len() > 2 * STDERR_KEPT {
                    keep_end(&mut self.stderr);
                }
            }
        }
        let mut masked = std::mem::take(&mut self.masked);
        self.side(stream).mask.push(bytes, &mut masked);
        self.show(stream, &masked);
        masked.clear();
        self.masked = masked;
    }

    /// Ends one of the outputs: nothing of it is held back any longer.
    pub(super) fn close(&mut self, stream: Stream) {
        let mut masked = Vec::new();
        self.side(stream).mask.finish(&mut masked);
        self.show(stream, &masked);
        let line = std::mem::take(&mut self.side(stream).line);
        if !line.is_empty() {
            self.say(stream, &line);
        }
    }

    /// Ends both, and returns what was kept.
    pub(super) fn finish(mut self) -> Kept {
        self.close(Stream::Stdout);
        self.close(Stream::Stderr);
        if self.stderr.len() > STDERR_KEPT {
            keep_end(&mut self.stderr);
        }
        Kept {
            stdout: self.stdout,
            stdout_truncated: self.truncated,
            stderr: Zeroizing::new(String::from_utf8_lossy(&self.stderr).into_owned()),
            log_error: self.log_error,
        }
    }

    fn side(&mut self, stream: Stream) -> &mut Side {
        match stream {
            Stream::Stdout => &mut self.out,
            Stream::Stderr => &mut self.err,
        }
    }

    fn show(&mut self, stream: Stream, masked: &[u8]) {
        if masked.is_empty() {
            return;
        }
        self.write(masked);
        let mut rest = masked;
        while let Some(end) = rest.iter().position(|&byte| byte == b'\n') {
            let mut line = std::mem::take(&mut self.side(stream).line);
            line.extend_from_slice(&rest[..end]);
            self.say(stream, &line);
            line.clear();
            self.side(stream).line = line;
            rest = &rest[end + 1..];
        }
        while !rest.is_empty() {
            let line = &mut self.side(stream).line;
            let (now, later) = rest.split_at(rest.len().min(LINE - line.len()));
            line.extend_from_slice(now);
            rest = later;
            if line.len() == LINE {
                let line = std::mem::take(line);
                self.say(stream, &line);
            }
        }
    }

    fn write(&mut self, masked: &[u8]) {
        let Some(log) = &mut self.log else {
            return;
        };
        let room = usize::try_from(self.log_room).unwrap_or(usize::MAX);
        let kept = &masked[..masked.len().min(room)];
        self.log_room -= kept.len() as u64;
        let written = log.write_all(kept).and_then(|()| {
            if kept.len() == masked.len() {
                return Ok(true);
            }
            let mebibytes = LOG >> 20;
            writeln!(log, "\n# more was printed; {mebibytes} MiB of it are kept")?;
            Ok(false)
        });
        match written {
            Ok(true) => {}
            Ok(false) => self.log = None,
            Err(error) => {
                // A full disk must not stop a cluster half way.
                self.log_error = Some(error);
                self.log = None;
            }
        }
    }

    fn say(&self, stream: Stream, line: &[u8]) {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        // Of a line that was written over and over, as progress bars are, the last state counts.
        let last = line
            .iter()
            .rposition(|&byte| byte == b'\r')
            .map_or(line, |at| &line[at + 1..]);
        for piece in last.chunks(LINE) {
            (self.lines)(stream, &String::from_utf8_lossy(piece));
        }
        if last.is_empty() {
            (self.lines)(stream, "");
        }
    }
}

/// Appends, and leaves no copy behind when the vector has to move.
fn keep(kept: &mut Zeroizing<Vec<u8>>, bytes: &[u8]) {
    let needed = kept.len() + bytes.len();
    if needed > kept.capacity() {
        let mut larger = Zeroizing::new(Vec::with_capacity(needed.max(2 * kept.capacity())));
        larger.extend_from_slice(kept);
        *kept = larger;
    }
    kept.extend_from_slice(bytes);
}

fn keep_end(kept: &mut Zeroizing<Vec<u8>>) {
    let from = kept.len() - STDERR_KEPT;
    kept.copy_within(from.., 0);
    kept[STDERR_KEPT..].zeroize();
    kept.truncate(STDERR_KEPT);
}
