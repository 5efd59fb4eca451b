//! Secrets, and keeping them out of everything that is shown or kept.
//!
//! A [`Secret`] is a value that can be read only by saying [`Secret::reveal`]: it prints as `Secret(…)`, has no
//! `Display`, cannot be serialised or compared, and its memory is wiped when it is dropped.
//!
//! A [`Mask`] is the shared set of values that must never be seen. Everything on its way to a log, a terminal, a journal or
//! an error text goes through it, whole ([`Mask::text`], [`Mask::bytes`]) or in pieces ([`Mask::stream`]). Each value is also
//! looked for in the forms that tools give it (base64, hex, URL, JSON, YAML and shell escapes, each line of a key file).
//!
//! A [`Key`] makes fingerprints of values that may hold secrets: without the key they cannot be guessed at.
//!
//! What it does not do: it cannot take back what was shown before a value was added, and it does not know a secret that was
//! compressed, encrypted, cut into pieces by its program or shortened.

mod forms;
mod key;
mod matcher;
mod search;
mod stream;

pub use key::{Key, KeyError};
pub use search::{Hit, Search};
pub use stream::MaskStream;

use matcher::Matcher;
use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use zeroize::Zeroizing;

/// What stands where a secret stood.
pub const MASKED: &str = "[masked]";

/// The shortest value that is masked. Shorter ones would hide ordinary words and protect nothing.
pub const SHORTEST: usize = 6;

/// A value that must not be seen. It is wiped from memory when it is dropped.
#[derive(Clone)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Takes a value into keeping.
    pub fn new(value: impl Into<String>) -> Self {
        Self(Zeroizing::new(value.into()))
    }

    /// Returns the value itself. Every call of this is a place to look at twice.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

impl From<String> for Secret {
    fn from(value: String) -> Self {
        Self::new(value)
    }
}

/// One form of one value; matchers share it.
type Pattern = Arc<Zeroizing<Vec<u8>>>;

/// The set of values that must never be shown, shared by all who write.
///
/// Clones share one set: a value added to one is masked by all, from then on. Bytes that belong to any occurrence of any form of
/// any value are replaced; occurrences that overlap become one [`MASKED`].
#[derive(Clone, Default)]
pub struct Mask {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    /// Grows with every value that was really new, so that streams notice without taking the lock.
    version: AtomicU64,
    set: Mutex<Set>,
}

#[derive(Default)]
struct Set {
    /// Hashes of the values whose forms are there already: a value comes again and again.
    known: BTreeSet<[u8; 32]>,
    patterns: Vec<Pattern>,
    /// The matcher of the patterns above; built when it is first asked for after a change.
    matcher: Option<Arc<Matcher>>,
}

impl Mask {
    /// Returns a mask that hides nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a secret, in all its forms.
    pub fn add(&self, secret: &Secret) {
        self.add_text(secret.reveal());
    }

    /// Adds a value that is not held as a [`Secret`], in all its forms.
    pub fn add_text(&self, value: &str) {
        self.add_texts([value]);
    }

    /// Adds many values at once, which costs little more than one.
    pub fn add_texts<'a>(&self, values: impl IntoIterator<Item = &'a str>) {
        let mut set = self
            .shared
            .set
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let before = set.patterns.len();
        for value in values {
            if set.known.insert(*blake3::hash(value.as_bytes()).as_bytes()) {
                set.patterns
                    .extend(forms::of(value).into_iter().map(Arc::new));
            }
        }
        if set.patterns.len() == before {
            return;
        }
        // A stable sort finds that all but the end is sorted already.
        set.patterns.sort_by(|a, b| a.as_slice().cmp(b.as_slice()));
        set.patterns.dedup_by(|a, b| a.as_slice() == b.as_slice());
        if set.patterns.len() != before {
            set.matcher = None;
            self.shared.version.fetch_add(1, Ordering::Release);
        }
    }

    /// Returns whether nothing is masked, because nothing was added that is long enough.
    pub fn is_empty(&self) -> bool {
        self.shared.version.load(Ordering::Acquire) == 0
    }

    /// Returns the text with every secret replaced.
    pub fn text<'a>(&self, text: &'a str) -> Cow<'a, str> {
        match self.bytes(text.as_bytes()) {
            Cow::Borrowed(_) => Cow::Borrowed(text),
            // Patterns are whole characters, so what is left of a text is a text.
            Cow::Owned(bytes) => Cow::Owned(
                String::from_utf8(bytes)
                    .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()),
            ),
        }
    }

    /// Returns the bytes with every secret replaced.
    pub fn bytes<'a>(&self, bytes: &'a [u8]) -> Cow<'a, [u8]> {
        if self.is_empty() {
            return Cow::Borrowed(bytes);
        }
        let (_, matcher) = self.current();
        let Some(first) = matcher.find(bytes) else {
            return Cow::Borrowed(bytes);
        };
        let mut out = Vec::with_capacity(bytes.len());
        out.extend_from_slice(&bytes[..first]);
        matcher.replace(&bytes[first..], 0, bytes.len() - first, &mut out);
        Cow::Owned(out)
    }

    /// Returns a masker for something that arrives in pieces.
    pub fn stream(&self) -> MaskStream {
        MaskStream::new(self.clone())
    }

    /// Returns the matcher of all values so far, and the version that it is of.
    fn current(&self) -> (u64, Arc<Matcher>) {
        let mut set = self
            .shared
            .set
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        // Under the lock, so the version cannot be newer than the patterns.
        let version = self.shared.version.load(Ordering::Acquire);
        if let Some(matcher) = &set.matcher {
            return (version, Arc::clone(matcher));
        }
        let matcher = Arc::new(Matcher::new(set.patterns.clone()));
        set.matcher = Some(Arc::clone(&matcher));
        (version, matcher)
    }

    /// Returns a number that grows whenever a value is added that was not known.
    pub fn version(&self) -> u64 {
        self.shared.version.load(Ordering::Acquire)
    }
}

impl fmt::Debug for Mask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Mask(…)")
    }
}

#[cfg(test)]
mod tests;
