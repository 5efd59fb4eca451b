//! The real library behind a command line (`tools/judges/machinery`).

use super::corpus::{Answer, Case};
use std::io::Write as _;
use std::path::{Path, PathBuf};

/// Says why a test did nothing.
pub(super) fn skip(why: &str) {
    writeln!(std::io::stderr().lock(), "skipped: {why}").unwrap();
}

/// The judge of machine configurations.
#[derive(Debug)]
pub(super) struct Judge {
    program: PathBuf,
}

impl Judge {
    /// The judge in the folder that `BOOTSTRAP_JUDGES` names.
    pub(super) fn find() -> Option<Self> {
        let Some(folder) = std::env::var_os("BOOTSTRAP_JUDGES") else {
            skip("BOOTSTRAP_JUDGES names no folder; make fidelity builds the judges");
            return None;
        };
        Some(Self {
            program: Path::new(&folder).join("machinery"),
        })
    }

    /// Whether its answers are to be written down.
    pub(super) fn records() -> bool {
        std::env::var_os("BOOTSTRAP_RECORD").is_some()
    }

    /// Asks in its own words.
    pub(super) fn ask(&self, folder: &Path, words: &[&str]) -> Answer {
        Answer::of(&self.program, folder, words)
    }

    /// Its answer to a case.
    pub(super) fn answer(&self, case: &Case) -> Answer {
        let words = case.words();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        Case::judged(self.ask(&case.folder, &words))
    }
}
