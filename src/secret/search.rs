//! Looks for values in what was written already, and says which of them is where.

use std::io::{self, Read};
use std::sync::Arc;

use zeroize::Zeroizing;

use super::matcher::Matcher;
use super::{Pattern, Secret, forms};

/// How much is read at once.
const CHUNK: usize = 256 * 1024;

/// A place at which a value stands, in one of its forms.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hit {
    /// The first byte.
    pub offset: u64,
    /// What the value is called.
    pub name: String,
}

/// Named values to look for, in all their forms.
pub struct Search {
    matcher: Matcher,
    /// The forms in order, each with the value that it is of.
    owners: Vec<(Pattern, usize)>,
    names: Vec<String>,
    short: Vec<String>,
}

impl Search {
    /// A search for these values, each with its name.
    pub fn of(values: &[(String, Secret)]) -> Self {
        let mut owners: Vec<(Pattern, usize)> = Vec::new();
        let mut short = Vec::new();
        for (at, (name, value)) in values.iter().enumerate() {
            let forms = forms::of(value.reveal());
            if forms.is_empty() {
                short.push(name.clone());
            }
            owners.extend(forms.into_iter().map(|form| (Arc::new(form), at)));
        }
        // Of two values with one form, the first one that was named is told.
        owners.sort_by(|(a, _), (b, _)| a.as_slice().cmp(b.as_slice()));
        owners.dedup_by(|(a, _), (b, _)| a.as_slice() == b.as_slice());
        Self {
            matcher: Matcher::new(owners.iter().map(|(form, _)| Arc::clone(form)).collect()),
            owners,
            names: values.iter().map(|(name, _)| name.clone()).collect(),
            short,
        }
    }

    /// The names of the values that are too short to be looked for.
    pub fn too_short(&self) -> impl Iterator<Item = &str> {
        self.short.iter().map(String::as_str)
    }

    /// Looks through all that can be read; gives the places, and how many bytes there were. A place within another is not told of.
    pub fn read(&self, mut from: impl Read) -> io::Result<(Vec<Hit>, u64)> {
        let mut hits = Vec::new();
        let mut held = Zeroizing::new(Vec::with_capacity(2 * CHUNK));
        let mut chunk = Zeroizing::new(vec![0; CHUNK]);
        // Where in all that was read the held bytes begin, and before which place nothing is told any more.
        let (mut begin, mut told) = (0_u64, 0_u64);
        loop {
            let read = match from.read(&mut chunk) {
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            held.extend_from_slice(&chunk[..read]);
            let last = read == 0;
            let mut occurs = |at: usize, length: usize| {
                let offset = begin + at as u64;
                if offset < told {
                    return;
                }
                told = offset + length as u64;
                let form = &held[at..at + length];
                let owner = self
                    .owners
                    .binary_search_by(|(other, _)| other.as_slice().cmp(form));
                if let Ok(owner) = owner {
                    hits.push(Hit {
                        offset,
                        name: self.names[self.owners[owner].1].clone(),
                    });
                }
            };
            let until = if last {
                for (at, length) in self.matcher.occurrences(&held, held.len()) {
                    occurs(at, length);
                }
                held.len()
            } else {
                self.matcher.settled(&held, occurs)
            };
            begin += until as u64;
            held.drain(..until);
            if last {
                return Ok((hits, begin));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::Engine as _;

    /// Gives one byte at a time, so that every value lies across a border.
    struct Drops<'a>(&'a [u8]);

    impl Read for Drops<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let Some((first, rest)) = self.0.split_first() else {
                return Ok(0);
            };
            buffer[0] = *first;
            self.0 = rest;
            Ok(1)
        }
    }

    #[test]
    fn every_form_is_found_with_its_place_and_its_name_and_not_its_value() {
        let values = [
            ("op://v/a/F".to_owned(), Secret::new("hunter2-hunter2")),
            ("op://v/b/F".to_owned(), Secret::new("correct horse")),
            ("op://v/c/F".to_owned(), Secret::new("abc")),
        ];
        let search = Search::of(&values);
        assert_eq!(search.too_short().collect::<Vec<_>>(), ["op://v/c/F"]);
        let encoded = base64::engine::general_purpose::STANDARD.encode("xhunter2-hunter2y");
        let text = format!("abc correct horse\n{encoded} hunter2-hunter2");
        let want = |name: &str, offset: usize| Hit {
            offset: offset as u64,
            name: name.into(),
        };
        for (hits, bytes) in [
            search.read(text.as_bytes()).unwrap(),
            search.read(Drops(text.as_bytes())).unwrap(),
        ] {
            assert_eq!(bytes, text.len() as u64);
            assert_eq!(hits[0], want("op://v/b/F", 4));
            assert_eq!(hits[1].name, "op://v/a/F");
            assert_eq!(hits[2], want("op://v/a/F", text.len() - 15));
            assert_eq!(hits.len(), 3, "{hits:?}");
        }
    }
}
