//! An output that is never waited for.
//!
//! A run must not stand still because nobody reads what it says: a pager that waits for a key, a program behind a pipe that hangs. What is
//! written here is kept in memory and handed on by a thread of its own. While more than [`MOST`] is waiting, what comes is dropped: the
//! journal and the logs have all of it. At the end the last words are waited for as long as somebody goes on reading.

use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How much may wait to be read: all that a long run says, many times over.
const MOST: usize = 8 * 1024 * 1024;
/// How long a reader who reads nothing is waited for at the end.
const PATIENCE: Duration = Duration::from_secs(2);
/// What is handed on at once, so that it can be seen whether somebody reads.
const PIECE: usize = 4096;

/// The output. Its clones write to the same, and the last of them waits for the last words.
#[derive(Debug, Clone)]
pub struct Detached {
    most: usize,
    last: Arc<Last>,
}

#[derive(Debug)]
struct Last {
    shared: Arc<Shared>,
    patience: Duration,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    waiting: Vec<u8>,
    /// Whether something is being handed on.
    busy: bool,
    /// How many pieces were.
    handed: u64,
    /// Nobody reads any more.
    gone: bool,
    /// Nobody writes any more.
    over: bool,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands on until nobody writes any more, or nobody reads.
    fn hand_on(&self, mut out: impl Write) {
        loop {
            let mut state = self.state();
            while state.waiting.is_empty() && !state.over {
                state = self
                    .changed
                    .wait(state)
                    .unwrap_or_else(PoisonError::into_inner);
            }
            if state.waiting.is_empty() {
                return;
            }
            let text = std::mem::take(&mut state.waiting);
            state.busy = true;
            drop(state);
            let mut pieces = text.chunks(PIECE);
            let good = pieces.all(|piece| {
                let good = out.write_all(piece).and_then(|()| out.flush()).is_ok();
                self.state().handed += 1;
                self.changed.notify_all();
                good
            });
            let mut state = self.state();
            state.busy = false;
            state.gone = !good;
            self.changed.notify_all();
            if state.gone {
                return;
            }
        }
    }
}

impl Detached {
    /// Hands on to this output.
    pub fn new(out: impl Write + Send + 'static) -> Self {
        Self::with(out, MOST, PATIENCE)
    }

    fn with(out: impl Write + Send + 'static, most: usize, patience: Duration) -> Self {
        let shared = Arc::new(Shared::default());
        let hand = Arc::clone(&shared);
        let started = std::thread::Builder::new()
            .name("output".into())
            .spawn(move || hand.hand_on(out));
        // Where no thread is to be had nothing can be said, and there are other troubles.
        shared.state().gone |= started.is_err();
        Self {
            most,
            last: Arc::new(Last { shared, patience }),
        }
    }
}

impl Write for Detached {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let shared = &self.last.shared;
        let mut state = shared.state();
        if state.gone {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        // All of it or nothing: a line is never cut.
        if state.waiting.len() + bytes.len() <= self.most {
            state.waiting.extend_from_slice(bytes);
            shared.changed.notify_all();
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Last {
    fn drop(&mut self) {
        let shared = &self.shared;
        let mut state = shared.state();
        state.over = true;
        shared.changed.notify_all();
        while (state.busy || !state.waiting.is_empty()) && !state.gone {
            let handed = state.handed;
            let (next, waited) = shared
                .changed
                .wait_timeout(state, self.patience)
                .unwrap_or_else(PoisonError::into_inner);
            state = next;
            if waited.timed_out() && state.handed == handed {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read as _;

    const FOR_EVER: Duration = Duration::from_secs(1000);

    #[test]
    fn what_is_said_is_heard_in_order_also_the_last_words() {
        let (mut reader, writer) = io::pipe().unwrap();
        let mut out = Detached::with(writer, MOST, FOR_EVER);
        let mut other = out.clone();
        let heard = std::thread::spawn(move || {
            let mut heard = String::new();
            reader.read_to_string(&mut heard).unwrap();
            heard
        });
        let long = "x".repeat(300_000);
        out.write_all(b"first\n").unwrap();
        other.write_all(long.as_bytes()).unwrap();
        out.write_all(b"\nlast\n").unwrap();
        drop((out, other));
        assert_eq!(heard.join().unwrap(), format!("first\n{long}\nlast\n"));
    }

    #[test]
    fn nobody_is_waited_for_and_what_is_too_much_is_dropped_in_whole_lines() {
        let (mut reader, writer) = io::pipe().unwrap();
        let mut out = Detached::with(writer, 100_000, Duration::ZERO);
        for number in 0..100_000 {
            out.write_all(format!("line {number}\n").as_bytes())
                .unwrap();
        }
        drop(out);
        // Now somebody reads what the pipe had room for, and what was on its way.
        let mut heard = vec![0; 4096];
        reader.read_exact(&mut heard).unwrap();
        assert!(heard.starts_with(b"line 0\nline 1\nline 2\n"));
    }

    #[test]
    fn when_the_reader_is_gone_nobody_is_written_to() {
        let (reader, writer) = io::pipe().unwrap();
        drop(reader);
        let mut out = Detached::with(writer, MOST, FOR_EVER);
        while out.write_all(b"a line\n").is_ok() {
            std::thread::yield_now();
        }
        drop(out);
    }
}
