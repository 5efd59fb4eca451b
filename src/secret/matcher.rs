//! Finds many byte strings at once, and replaces them.
//!
//! All patterns are at least [`SHORTEST`] bytes long, so a small table of hashed four-byte beginnings turns
//! away nearly every position of ordinary output with one look-up; only what passes is compared. With a few thousand patterns
//! (a hundred secrets in all their forms) an automaton would need megabytes of table and be no faster.
//!
//! Invariant: `patterns` is sorted and has no duplicates, so those with one beginning stand together.

use super::{MASKED, Pattern, SHORTEST};

/// How many bytes of a pattern the table knows.
const HEAD: usize = 4;
const BITS: u32 = 17;
/// Every so many bytes one look is enough: a pattern of [`SHORTEST`] bytes has a whole head from one of them on.
const STEP: usize = SHORTEST - HEAD + 1;
const GRID_BITS: u32 = 19;

pub(super) struct Matcher {
    patterns: Vec<Pattern>,
    /// One bit for each hash of a head.
    filter: Vec<u64>,
    /// One bit for each hash of four bytes that stand at one of the first [`STEP`] places of a pattern.
    grid: Vec<u64>,
    /// The heads as big-endian numbers (so in the order of the patterns), each with the index of its first pattern.
    heads: Vec<(u32, usize)>,
    longest: usize,
}

impl Matcher {
    /// Builds a matcher of sorted patterns without duplicates.
    pub(super) fn new(patterns: Vec<Pattern>) -> Self {
        let mut filter = vec![0; (1 << BITS) / 64];
        let mut grid = vec![0; (1 << GRID_BITS) / 64];
        let mut heads: Vec<(u32, usize)> = Vec::new();
        let mut longest = 0;
        for (index, pattern) in patterns.iter().enumerate() {
            longest = longest.max(pattern.len());
            for place in 0..STEP {
                let slot = grid_slot(head_at(pattern, place));
                grid[slot / 64] |= 1 << (slot % 64);
            }
            let head = head_at(pattern, 0);
            if heads.last().is_none_or(|(last, _)| *last != head) {
                heads.push((head, index));
                let slot = slot(head);
                filter[slot / 64] |= 1 << (slot % 64);
            }
        }
        Self {
            patterns,
            filter,
            grid,
            heads,
            longest,
        }
    }

    /// Returns where the first pattern begins.
    pub(super) fn find(&self, bytes: &[u8]) -> Option<usize> {
        self.occurrences(bytes, bytes.len())
            .next()
            .map(|(at, _)| at)
    }

    /// Every occurrence that begins before `until`, in order: its place, and the length of the longest pattern there.
    pub(super) fn occurrences(
        &self,
        bytes: &[u8],
        until: usize,
    ) -> impl Iterator<Item = (usize, usize)> {
        self.candidates(bytes, until)
            .filter_map(|at| self.longest_at(&bytes[at..]).map(|length| (at, length)))
    }

    /// Every place before `until`, in order, at which a pattern may begin of which at least [`SHORTEST`] bytes are there.
    fn candidates(&self, bytes: &[u8], until: usize) -> impl Iterator<Item = usize> {
        bytes
            .windows(HEAD)
            .enumerate()
            .step_by(STEP)
            .take_while(move |(place, _)| *place < until + STEP)
            .filter(|(_, window)| {
                let slot = grid_slot(head_at(window, 0));
                self.grid[slot / 64] & (1 << (slot % 64)) != 0
            })
            // Whatever has this place among its first ones.
            .flat_map(move |(place, _)| (place + 1).saturating_sub(STEP)..(place + 1).min(until))
            .filter(|&at| self.may_begin(bytes, at))
    }

    /// Writes `bytes[..until]` to `out`, with every occurrence that begins in it replaced.
    ///
    /// The first `covered` bytes belong to an occurrence that was replaced already. Returns how many bytes after `until` belong
    /// to an occurrence that was replaced here.
    pub(super) fn replace(
        &self,
        bytes: &[u8],
        covered: usize,
        until: usize,
        out: &mut Vec<u8>,
    ) -> usize {
        let mut hiding = Hiding::new(bytes, covered, out);
        for (at, length) in self.occurrences(bytes, until) {
            hiding.hide(at, length);
        }
        hiding.end(until)
    }

    /// As [`Matcher::replace`], of what is settled ([`Matcher::settled`]). Returns up to where, and how many bytes after that belong to an
    /// occurrence that was replaced here.
    pub(super) fn replace_settled(
        &self,
        bytes: &[u8],
        covered: usize,
        out: &mut Vec<u8>,
    ) -> (usize, usize) {
        let mut hiding = Hiding::new(bytes, covered, out);
        let until = self.settled(bytes, |at, length| hiding.hide(at, length));
        (until, hiding.end(until))
    }

    /// Returns the first place from which the rest of the bytes may be the beginning of a longer pattern, and shows every occurrence
    /// that begins before it, in order: its place, and the length of the longest pattern there.
    ///
    /// Every byte is looked at once: the longest pattern may be longer than all that a process prints at a time.
    pub(super) fn settled(&self, bytes: &[u8], mut occurs: impl FnMut(usize, usize)) -> usize {
        let open = bytes.len().saturating_sub(self.longest.saturating_sub(1));
        // Of what begins here or later there are too few bytes for the table.
        let late = (bytes.len() + 1).saturating_sub(SHORTEST);
        for at in self.candidates(bytes, late) {
            if at >= open && self.begins_longer(&bytes[at..]) {
                return at;
            }
            if let Some(length) = self.longest_at(&bytes[at..]) {
                occurs(at, length);
            }
        }
        (open.max(late)..bytes.len())
            .find(|&at| self.begins_longer(&bytes[at..]))
            .unwrap_or(bytes.len())
    }

    #[inline]
    fn may_begin(&self, bytes: &[u8], at: usize) -> bool {
        let slot = slot(head_at(bytes, at));
        self.filter[slot / 64] & (1 << (slot % 64)) != 0
    }

    /// Returns the length of the longest pattern that `rest` begins with.
    fn longest_at(&self, rest: &[u8]) -> Option<usize> {
        let head = head_at(rest, 0);
        let found = self
            .heads
            .binary_search_by_key(&head, |(head, _)| *head)
            .ok()?;
        let begin = self.heads[found].1;
        let end = self
            .heads
            .get(found + 1)
            .map_or(self.patterns.len(), |(_, index)| *index);
        // A longer pattern sorts after the shorter ones that it begins with.
        self.patterns[begin..end]
            .iter()
            .rev()
            .find(|pattern| rest.starts_with(pattern))
            .map(|pattern| pattern.len())
    }

    /// Returns whether some pattern begins with `rest` and goes on after it.
    fn begins_longer(&self, rest: &[u8]) -> bool {
        let after = self
            .patterns
            .partition_point(|pattern| pattern.as_slice() <= rest);
        self.patterns
            .get(after)
            .is_some_and(|pattern| pattern.starts_with(rest))
    }
}

/// Writes bytes, with the occurrences in them replaced.
struct Hiding<'a> {
    bytes: &'a [u8],
    out: &'a mut Vec<u8>,
    /// Everything before it is written or replaced.
    done: usize,
}

impl<'a> Hiding<'a> {
    fn new(bytes: &'a [u8], covered: usize, out: &'a mut Vec<u8>) -> Self {
        Self {
            bytes,
            out,
            done: covered,
        }
    }

    /// Replaces an occurrence that begins no earlier than the last one. Those that overlap become one.
    fn hide(&mut self, at: usize, length: usize) {
        if at >= self.done {
            self.out.extend_from_slice(&self.bytes[self.done..at]);
            self.out.extend_from_slice(MASKED.as_bytes());
        }
        self.done = self.done.max(at + length);
    }

    /// Writes what is left before `until`; returns how many bytes after it are replaced.
    fn end(self, until: usize) -> usize {
        if let Some(plain) = self.bytes.get(self.done..until) {
            self.out.extend_from_slice(plain);
        }
        self.done.saturating_sub(until)
    }
}

#[inline]
fn head_at(bytes: &[u8], at: usize) -> u32 {
    let head: [u8; HEAD] = bytes[at..at + HEAD]
        .try_into()
        .expect("a head has four bytes");
    u32::from_be_bytes(head)
}

#[inline]
fn grid_slot(head: u32) -> usize {
    (head.wrapping_mul(0x9E37_79B1) >> (32 - GRID_BITS)) as usize
}

#[inline]
fn slot(head: u32) -> usize {
    (head.wrapping_mul(0x9E37_79B1) >> (32 - BITS)) as usize
}
