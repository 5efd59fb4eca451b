//! Masks what arrives in pieces, as if it had arrived whole.

use super::Mask;
use super::matcher::Matcher;
use std::fmt;
use std::sync::Arc;
use zeroize::Zeroize as _;

/// A masker for one stream of bytes.
///
/// Whatever the pieces, the output is that of [`Mask::bytes`] on the whole. Of what has arrived it holds back only the end that
/// may still become a secret, so it holds at most one byte less than the longest form of a secret. Values that are added to the
/// mask meanwhile are masked from the next piece on.
pub struct MaskStream {
    mask: Mask,
    version: u64,
    matcher: Option<Arc<Matcher>>,
    pub(super) held: Vec<u8>,
    /// How many of the held bytes belong to an occurrence that was replaced already.
    covered: usize,
}

impl MaskStream {
    pub(super) fn new(mask: Mask) -> Self {
        Self {
            mask,
            version: 0,
            matcher: None,
            held: Vec::new(),
            covered: 0,
        }
    }

    /// Takes a piece, and appends to `out` all that is settled by it.
    pub fn push(&mut self, chunk: &[u8], out: &mut Vec<u8>) {
        if self.version != self.mask.version() {
            let (version, matcher) = self.mask.current();
            self.version = version;
            self.matcher = Some(matcher);
        }
        let Some(matcher) = &self.matcher else {
            out.extend_from_slice(chunk);
            return;
        };
        if self.held.is_empty() {
            // The common case copies nothing but the output.
            let (until, covered) = matcher.replace_settled(chunk, 0, out);
            self.covered = covered;
            self.held.extend_from_slice(&chunk[until..]);
            return;
        }
        self.held.extend_from_slice(chunk);
        let (until, covered) = matcher.replace_settled(&self.held, self.covered, out);
        self.covered = covered;
        self.held.copy_within(until.., 0);
        let left = self.held.len() - until;
        self.held[left..].zeroize();
        self.held.truncate(left);
    }

    /// Ends the stream: appends what was held back. The stream may then be used anew.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        if let Some(matcher) = &self.matcher {
            matcher.replace(&self.held, self.covered, self.held.len(), out);
        }
        self.held.zeroize();
        self.covered = 0;
    }
}

impl Drop for MaskStream {
    fn drop(&mut self) {
        self.held.zeroize();
    }
}

impl fmt::Debug for MaskStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MaskStream(…)")
    }
}
