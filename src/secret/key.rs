//! Fingerprints that say whether something changed, and nothing about what it is.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// The random key of a workspace. A fingerprint made with it can neither be guessed at nor compared by who has not the key.
pub struct Key(Zeroizing<[u8; 32]>);

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file could not be read or made.
    #[error("cannot use the key file `{}`", path.display())]
    Io {
        /// The key file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file is not one of ours.
    #[error("the key file `{}` has {length} bytes, not 32", path.display())]
    Length {
        /// The key file.
        path: PathBuf,
        /// How many bytes it has.
        length: usize,
    },
}

impl Key {
    /// Reads the key, or makes it (readable by its owner only) if there is none.
    pub fn open_or_create(path: &Path) -> Result<Self, KeyError> {
        let io = |source| KeyError::Io {
            path: path.to_owned(),
            source,
        };
        match fs::read(path).map(Zeroizing::new) {
            Ok(bytes) => Self::from_file(path, &bytes),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                create(path).map_err(io)?;
                let bytes = fs::read(path).map(Zeroizing::new).map_err(io)?;
                Self::from_file(path, &bytes)
            }
            Err(error) => Err(io(error)),
        }
    }

    fn from_file(path: &Path, bytes: &[u8]) -> Result<Self, KeyError> {
        let key: [u8; 32] = bytes.try_into().map_err(|_| KeyError::Length {
            path: path.to_owned(),
            length: bytes.len(),
        })?;
        Ok(Self(Zeroizing::new(key)))
    }

    /// Returns a key of the given bytes, for tests and for what need not last.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// Returns 16 hexadecimal characters that change when any part changes, or moves from one part to another.
    pub fn fingerprint(&self, parts: &[&[u8]]) -> String {
        let mut hasher = blake3::Hasher::new_keyed(&self.0);
        for part in parts {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
        let hex = hasher.finalize().to_hex();
        hex.as_str()[..16].to_owned()
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(…)")
    }
}

/// Makes the file whole or not at all. If somebody else made it meanwhile, theirs stays.
fn create(path: &Path) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut key = Zeroizing::new([0; 32]);
    File::open("/dev/urandom")?.read_exact(&mut *key)?;
    // A temporary file of `tempfile` has mode 0600.
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(&*key)?;
    file.as_file().sync_all()?;
    match file.persist_noclobber(path) {
        Ok(_) => File::open(folder)?.sync_all(),
        Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error.error),
    }
}
