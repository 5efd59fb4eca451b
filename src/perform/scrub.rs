//! Logs that were written before the mask knew a value are masked again.
//!
//! A value can be declared secret after it was printed: by the same step's output, or by another step that ran meanwhile. What a process
//! prints from then on is masked; what is in a log already is masked at the end of the attempt that wrote it, and of every other log at the
//! end of the run. The file is replaced as a whole: whoever reads it sees the old one or the new one.

use std::fs::File;
use std::io::{self, BufWriter, Read as _, Write as _};
use std::path::Path;

use zeroize::Zeroizing;

use crate::perform::Performer;
use crate::secret::Mask;

/// How much is read at once.
const CHUNK: usize = 256 * 1024;

impl Performer {
    /// Masks the log of an attempt again, if the mask has learned something since it knew `before`.
    pub(super) async fn scrub_log(&self, log: &Path, before: u64) {
        let now = self.mask.version();
        // A log may be long, and whoever wants to stop the run must be heard meanwhile. One that cannot be masked again now is tried
        // again, and told of, at the end of the run.
        let fine = now == before || {
            let (path, mask) = (log.to_path_buf(), self.mask.clone());
            let scrubbed = tokio::task::spawn_blocking(move || scrub(&path, &mask).is_ok());
            scrubbed.await.unwrap_or(false) || !log.exists()
        };
        if fine {
            self.clean_logs().insert(log.to_path_buf(), now);
        }
    }

    /// Masks every log of the run again that was finished before the mask knew what it knows now. Gives what could not be.
    pub fn scrub_logs(&self) -> Vec<String> {
        let Some(folder) = &self.settings.folder else {
            return Vec::new();
        };
        let now = self.mask.version();
        if self.mask.is_empty() {
            return Vec::new();
        }
        let mut failed = Vec::new();
        for entry in std::fs::read_dir(folder.logs())
            .into_iter()
            .flatten()
            .flatten()
        {
            let log = entry.path();
            let clean = self.clean_logs().get(&log) == Some(&now);
            if clean || log.extension().is_none_or(|ending| ending != "log") {
                continue;
            }
            if let Err(error) = scrub(&log, &self.mask) {
                failed.push(format!("{}: {error}", log.display()));
            }
        }
        failed
    }

    fn clean_logs(
        &self,
    ) -> std::sync::MutexGuard<'_, std::collections::BTreeMap<std::path::PathBuf, u64>> {
        self.clean_logs
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// Masks a file as it lies there. Gives whether anything in it was masked that was not before.
pub(crate) fn scrub(path: &Path, mask: &Mask) -> io::Result<bool> {
    if mask.is_empty() {
        return Ok(false);
    }
    let (mut was, mut is) = (blake3::Hasher::new(), blake3::Hasher::new());
    through(path, mask, |before, after| {
        was.update(before);
        is.update(after);
        Ok(())
    })?;
    if was.finalize() == is.finalize() {
        return Ok(false);
    }
    let folder = path.parent().unwrap_or(Path::new("."));
    // A temporary file of `tempfile` has mode 0600, as a log has.
    let file = tempfile::Builder::new()
        .prefix(".scrub-")
        .tempfile_in(folder)?;
    {
        let mut out = BufWriter::new(file.as_file());
        through(path, mask, |_, after| out.write_all(after))?;
        out.flush()?;
    }
    file.as_file().sync_all()?;
    file.persist(path).map_err(|error| error.error)?;
    Ok(true)
}

/// Reads a file through the mask, piece by piece.
fn through(
    path: &Path,
    mask: &Mask,
    mut take: impl FnMut(&[u8], &[u8]) -> io::Result<()>,
) -> io::Result<()> {
    let mut file = File::open(path)?;
    let mut stream = mask.stream();
    let mut chunk = Zeroizing::new(vec![0; CHUNK]);
    let mut masked = Vec::new();
    loop {
        let read = match file.read(&mut chunk) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        stream.push(&chunk[..read], &mut masked);
        take(&chunk[..read], &masked)?;
        masked.clear();
    }
    stream.finish(&mut masked);
    take(&[], &masked)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_masked_again_and_otherwise_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.1.log");
        let filler = "line of output\n".repeat(40_000);
        let split = CHUNK - 3 - filler.len() % CHUNK;
        let text = format!("tok-123456\n{filler}{}tok-123456 end\n", "x".repeat(split));
        std::fs::write(&path, &text).unwrap();
        let mask = Mask::new();
        mask.add_text("other-value");
        assert!(!scrub(&path, &mask).unwrap());
        assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
        mask.add_text("tok-123456");
        assert!(scrub(&path, &mask).unwrap());
        assert!(!scrub(&path, &mask).unwrap());
        let masked = std::fs::read_to_string(&path).unwrap();
        assert_eq!(masked, text.replace("tok-123456", "[masked]"));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
