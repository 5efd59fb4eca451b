//! Writing a tree of files: only what differs, and nothing that a person changed.
//!
//! A record beside the files says what was written, by its hash. What lies there otherwise was changed by a person, or is theirs altogether;
//! it is neither overwritten nor removed unless that is asked for.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::perform::stage::{replace_file, unified_diff, write_file};
use crate::tree::Files;

/// The record, in the tree's folder: a line a file, as `b3sum` writes and checks it.
pub const RECORD: &str = ".rendered";

/// What became of a tree.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Written {
    /// Files that were written.
    pub written: Vec<String>,
    /// Files that were removed, because nothing makes them any more.
    pub removed: Vec<String>,
    /// How many files were as they should be.
    pub same: usize,
}

impl Written {
    /// Whether anything changed.
    pub fn changed(&self) -> bool {
        !(self.written.is_empty() && self.removed.is_empty())
    }
}

/// Why a tree was not written.
#[derive(Debug, thiserror::Error)]
pub enum TreeError {
    /// A person changed these files since they were rendered, or made them; nothing was written.
    #[error("changed by hand since they were rendered: {}", .0.join(", "))]
    ByHand(Vec<String>),
    /// The disk.
    #[error("{} cannot be written: {error}", .path.display())]
    Disk {
        /// What was to be written.
        path: PathBuf,
        /// Why not.
        error: std::io::Error,
    },
}

/// How the files on disk differ from a tree; by path.
pub fn differences(folder: &Path, files: &Files, cluster: Option<&str>) -> Vec<(String, String)> {
    let record = read_record(folder);
    let mut all: Vec<(String, String)> = chosen(files, cluster)
        .map(|(path, text)| {
            let old = std::fs::read_to_string(folder.join(path)).unwrap_or_default();
            (path.to_owned(), unified_diff(path, &old, text))
        })
        .collect();
    for path in record.keys().filter(|path| !files.contains_key(*path)) {
        let old = std::fs::read_to_string(folder.join(path)).unwrap_or_default();
        all.push((path.clone(), unified_diff(path, &old, "")));
    }
    all.sort();
    all.retain(|(_, diff)| !diff.is_empty());
    all
}

/// Writes a tree, or the part of it that is shared or a cluster's.
pub fn write(
    folder: &Path,
    files: &Files,
    cluster: Option<&str>,
    force: bool,
) -> Result<Written, TreeError> {
    let mut record = read_record(folder);
    let mut by_hand = Vec::new();
    let mut write: Vec<(&str, &str)> = Vec::new();
    let mut remove: Vec<String> = Vec::new();
    let mut done = Written::default();
    for (path, text) in chosen(files, cluster) {
        match std::fs::read(folder.join(path)) {
            Ok(old) if old == text.as_bytes() => done.same += 1,
            Ok(old) if !force && record.get(path) != Some(&hash(&old)) => {
                by_hand.push(path.to_owned());
            }
            Ok(_) | Err(_) => write.push((path, text)),
        }
    }
    for (path, written) in record.iter().filter(|(path, _)| !files.contains_key(*path)) {
        match std::fs::read(folder.join(path)) {
            Ok(old) if !force && hash(&old) != *written => by_hand.push(path.clone()),
            Ok(_) | Err(_) => remove.push(path.clone()),
        }
    }
    if !by_hand.is_empty() {
        by_hand.sort();
        return Err(TreeError::ByHand(by_hand));
    }
    let failed = |path: PathBuf| move |error| TreeError::Disk { path, error };
    for (path, text) in write {
        let at = folder.join(path);
        replace_file(&at, text.as_bytes(), 0o644).map_err(failed(at.clone()))?;
        done.written.push(path.to_owned());
    }
    for path in remove {
        let at = folder.join(&path);
        match std::fs::remove_file(&at) {
            Ok(()) => done.removed.push(path.clone()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed(at)(error)),
        }
        record.remove(&path);
        // Folders that only held what is gone.
        let mut parent = at.parent();
        while let Some(empty) = parent.filter(|parent| *parent != folder) {
            if std::fs::remove_dir(empty).is_err() {
                break;
            }
            parent = empty.parent();
        }
    }
    for (path, text) in chosen(files, cluster) {
        record.insert(path.to_owned(), hash(text.as_bytes()));
    }
    let at = folder.join(RECORD);
    write_file(&at, lines(&record).as_bytes(), 0o644).map_err(failed(at.clone()))?;
    Ok(done)
}

/// The files that are shared, or a cluster's; all if none is named.
fn chosen<'a>(
    files: &'a Files,
    cluster: Option<&'a str>,
) -> impl Iterator<Item = (&'a str, &'a str)> {
    files
        .iter()
        .filter(move |(_, file)| {
            cluster.is_none() || file.cluster.is_none() || file.cluster.as_deref() == cluster
        })
        .map(|(path, file)| (path.as_str(), file.text.as_str()))
}

fn hash(bytes: &[u8]) -> String {
    blake3::hash(bytes).to_hex().to_string()
}

fn lines(record: &BTreeMap<String, String>) -> String {
    let mut text = String::new();
    for (path, hash) in record {
        text.push_str(hash);
        text.push_str("  ");
        text.push_str(path);
        text.push('\n');
    }
    text
}

/// What was written the last time. Lines that are none, and paths that lead out, say nothing.
fn read_record(folder: &Path) -> BTreeMap<String, String> {
    std::fs::read_to_string(folder.join(RECORD))
        .unwrap_or_default()
        .lines()
        .filter_map(|line| line.split_once("  "))
        .filter(|(_, path)| crate::template::below(folder, path).is_ok())
        .map(|(hash, path)| (path.to_owned(), hash.to_owned()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::File;

    fn files(all: &[(&str, &str, Option<&str>)]) -> Files {
        all.iter()
            .map(|(path, text, cluster)| {
                let file = File {
                    text: (*text).to_owned(),
                    cluster: cluster.map(str::to_owned),
                    from: String::new(),
                };
                ((*path).to_owned(), file)
            })
            .collect()
    }

    fn read(folder: &Path, path: &str) -> Option<String> {
        std::fs::read_to_string(folder.join(path)).ok()
    }

    #[test]
    fn only_what_differs_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let one = files(&[("a/b.yaml", "1\n", None), ("c.yaml", "2\n", None)]);
        let first = write(folder.path(), &one, None, false).unwrap();
        assert_eq!(first.written, ["a/b.yaml", "c.yaml"]);
        let again = write(folder.path(), &one, None, false).unwrap();
        assert!(!again.changed());
        assert_eq!(again.same, 2);
        let two = files(&[("a/b.yaml", "3\n", None), ("c.yaml", "2\n", None)]);
        assert_eq!(differences(folder.path(), &two, None).len(), 1);
        let third = write(folder.path(), &two, None, false).unwrap();
        assert_eq!(third.written, ["a/b.yaml"]);
    }

    #[test]
    fn what_is_no_longer_made_is_removed_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let one = files(&[("a/b/c.yaml", "1\n", None), ("d.yaml", "2\n", None)]);
        write(folder.path(), &one, None, false).unwrap();
        std::fs::create_dir_all(folder.path().join("a/mine")).unwrap();
        std::fs::write(folder.path().join("a/mine/x.yaml"), "x").unwrap();
        let two = files(&[("d.yaml", "2\n", None)]);
        let done = write(folder.path(), &two, None, false).unwrap();
        assert_eq!(done.removed, ["a/b/c.yaml"]);
        assert!(!folder.path().join("a/b").exists());
        assert_eq!(read(folder.path(), "a/mine/x.yaml").unwrap(), "x");
        assert!(!write(folder.path(), &two, None, false).unwrap().changed());
    }

    #[test]
    fn what_a_person_changed_is_neither_overwritten_nor_removed() {
        let folder = tempfile::tempdir().unwrap();
        let one = files(&[("a.yaml", "1\n", None), ("b.yaml", "1\n", None)]);
        // Somebody else's file of that name is a person's.
        std::fs::write(folder.path().join("a.yaml"), "theirs\n").unwrap();
        let refused = write(folder.path(), &one, None, false).unwrap_err();
        assert!(matches!(&refused, TreeError::ByHand(paths) if *paths == ["a.yaml"]));
        assert_eq!(read(folder.path(), "b.yaml"), None, "all or nothing");
        write(folder.path(), &one, None, true).unwrap();
        assert_eq!(read(folder.path(), "a.yaml").unwrap(), "1\n");
        // Changed, and no longer made.
        std::fs::write(folder.path().join("b.yaml"), "mended\n").unwrap();
        let two = files(&[("a.yaml", "2\n", None)]);
        let refused = write(folder.path(), &two, None, false).unwrap_err();
        assert!(matches!(&refused, TreeError::ByHand(paths) if *paths == ["b.yaml"]));
        assert_eq!(read(folder.path(), "a.yaml").unwrap(), "1\n");
        // Changed to what would be written: nothing to say.
        std::fs::write(folder.path().join("a.yaml"), "2\n").unwrap();
        std::fs::remove_file(folder.path().join("b.yaml")).unwrap();
        assert!(!write(folder.path(), &two, None, false).unwrap().changed());
    }

    #[test]
    fn one_cluster_alone_leaves_the_others_as_they_are() {
        let folder = tempfile::tempdir().unwrap();
        let make = |text| {
            files(&[
                ("shared.yaml", text, None),
                ("clusters/a.yaml", text, Some("a")),
                ("clusters/b.yaml", text, Some("b")),
            ])
        };
        write(folder.path(), &make("1\n"), None, false).unwrap();
        let done = write(folder.path(), &make("2\n"), Some("a"), false).unwrap();
        assert_eq!(done.written, ["clusters/a.yaml", "shared.yaml"]);
        assert_eq!(read(folder.path(), "clusters/b.yaml").unwrap(), "1\n");
        let done = write(folder.path(), &make("2\n"), None, false).unwrap();
        assert_eq!(
            done.written,
            ["clusters/b.yaml"],
            "the record still knows it"
        );
    }

    #[test]
    fn a_record_that_leads_out_removes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let inside = folder.path().join("tree");
        std::fs::create_dir(&inside).unwrap();
        std::fs::write(folder.path().join("outside"), "x").unwrap();
        std::fs::write(inside.join(RECORD), format!("{}  ../outside\n", hash(b"x"))).unwrap();
        write(&inside, &files(&[]), None, false).unwrap();
        assert_eq!(read(folder.path(), "outside").unwrap(), "x");
    }
}
