//! Fuzzing of everything that reads: `make fuzz`, and `docs/decisions/0018-fuzzing-and-mutants.md` for why it is as it is.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

pub mod readers;

/// A folder of this process for the files that a reader needs.
pub fn folder() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let folder = std::env::temp_dir().join(format!("bootstrap-fuzz-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        folder
    })
}
