//! The Git remote of a room: a bare repository in the world's folder, served by the real `git`.
//!
//! Nothing is contacted: `lab exec` tells git that the room's URL means this folder. Where there is no `git`, the remote cannot be read, and
//! whoever asks is told so.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::rc::Rc;

/// Texts of files by their path.
pub(crate) type Files = BTreeMap<String, String>;

/// The remote.
#[derive(Debug, Clone, Default)]
pub(crate) struct Remote {
    path: PathBuf,
    /// What was read in this call, by commit and folder: a commit never changes.
    read: RefCell<BTreeMap<(String, String), Rc<Files>>>,
}

impl Remote {
    /// Returns the remote in a folder, which need not exist.
    pub(crate) fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            read: RefCell::default(),
        }
    }

    /// Returns its folder.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Makes it: an empty bare repository. Needs no `git`, so that a world can be made without.
    pub(crate) fn create(&self) -> io::Result<()> {
        for folder in ["objects/info", "objects/pack", "refs/heads", "refs/tags"] {
            fs::create_dir_all(self.path.join(folder))?;
        }
        fs::write(self.path.join("HEAD"), "ref: refs/heads/main\n")?;
        fs::write(
            self.path.join("config"),
            "[core]\n\trepositoryformatversion = 0\n\tfilemode = true\n\tbare = true\n",
        )
    }

    /// Lets the remote take pushes, or refuse them as a host with protected branches does.
    pub(crate) fn protect(&self, protected: bool) -> io::Result<()> {
        let hook = self.path.join("hooks/pre-receive");
        if protected == hook.exists() {
            return Ok(());
        }
        if !protected {
            return fs::remove_file(hook);
        }
        fs::create_dir_all(self.path.join("hooks"))?;
        let text = "#!/bin/sh\necho 'error: GH006: Protected branch update failed.' >&2\nexit 1\n";
        fs::write(&hook, text)?;
        fs::set_permissions(&hook, fs::Permissions::from_mode(0o755))
    }

    /// Returns every branch and its commit.
    pub(crate) fn heads(&self) -> BTreeMap<String, String> {
        let loose = fs::read_dir(self.path.join("refs/heads")).into_iter();
        let loose = loose.flatten().flatten().filter_map(|entry| {
            let name = entry.file_name().to_string_lossy().into_owned();
            Some((name.clone(), self.head(&name)?))
        });
        let packed = fs::read_to_string(self.path.join("packed-refs")).unwrap_or_default();
        let packed = packed.lines().filter_map(|line| {
            let (commit, name) = line.split_once(' ')?;
            let name = name.strip_prefix("refs/heads/")?;
            Some((name.to_string(), commit.to_string()))
        });
        packed.chain(loose).collect()
    }

    /// Returns the commit of a branch.
    pub(crate) fn head(&self, branch: &str) -> Option<String> {
        let name = format!("refs/heads/{branch}");
        if let Ok(text) = fs::read_to_string(self.path.join(&name)) {
            return Some(text.trim().to_string());
        }
        let packed = fs::read_to_string(self.path.join("packed-refs")).ok()?;
        packed
            .lines()
            .filter_map(|line| line.split_once(' '))
            .find(|(_, known)| *known == name)
            .map(|(commit, _)| commit.to_string())
    }

    /// Returns the files of a commit below a folder, by path.
    pub(crate) fn files(&self, commit: &str, folder: &str) -> Result<Rc<Files>, String> {
        let folder = folder.trim_start_matches("./").trim_end_matches('/');
        let key = (commit.to_string(), folder.to_string());
        if let Some(known) = self.read.borrow().get(&key) {
            return Ok(Rc::clone(known));
        }
        let files = Rc::new(self.read_files(commit, folder)?);
        self.read.borrow_mut().insert(key, Rc::clone(&files));
        Ok(files)
    }

    fn read_files(&self, commit: &str, folder: &str) -> Result<BTreeMap<String, String>, String> {
        let mut words = vec!["ls-tree", "-r", "-z", commit];
        if !folder.is_empty() {
            words.extend(["--", folder]);
        }
        let listing = self.git(&words, b"", &[])?;
        let text = String::from_utf8_lossy(&listing).into_owned();
        let mut wanted = String::new();
        let mut paths = Vec::new();
        for line in text.split('\0') {
            let Some((head, path)) = line.split_once('\t') else {
                continue;
            };
            let Some(id) = head.split(' ').nth(2) else {
                continue;
            };
            wanted.push_str(id);
            wanted.push('\n');
            paths.push(path.to_string());
        }
        let answer = self.git(&["cat-file", "--batch"], wanted.as_bytes(), &[])?;
        let mut files = BTreeMap::new();
        let mut left = answer.as_slice();
        for path in paths {
            let end = left
                .iter()
                .position(|byte| *byte == b'\n')
                .ok_or("git cat-file said less than was asked")?;
            let head = String::from_utf8_lossy(&left[..end]).into_owned();
            let size: usize = head
                .rsplit(' ')
                .next()
                .and_then(|size| size.parse().ok())
                .ok_or_else(|| format!("git cat-file said `{head}`"))?;
            let body = left
                .get(end + 1..end + 1 + size)
                .ok_or("git cat-file said less than it promised")?;
            files.insert(path, String::from_utf8_lossy(body).into_owned());
            left = left.get(end + 2 + size..).unwrap_or_default();
        }
        Ok(files)
    }

    /// Commits files on top of a branch, as somebody with a clone of it does, unless nothing changes; returns the branch's commit.
    pub(crate) fn commit(
        &self,
        branch: &str,
        files: &BTreeMap<String, String>,
        message: &str,
        author: (&str, &str),
    ) -> Result<String, String> {
        if self.path.join("hooks/pre-receive").exists() {
            return Err(
                "failed to push to remote: command error on refs/heads/".to_string()
                    + branch
                    + ": pre-receive hook declined",
            );
        }
        let before = self.head(branch);
        let index = self.path.join(format!("index.{}", std::process::id()));
        let index_text = index.to_string_lossy().into_owned();
        let mut set = vec![("GIT_INDEX_FILE", index_text.as_str())];
        for name in ["GIT_AUTHOR", "GIT_COMMITTER"] {
            let (person, mail) = if name == "GIT_AUTHOR" {
                ("GIT_AUTHOR_NAME", "GIT_AUTHOR_EMAIL")
            } else {
                ("GIT_COMMITTER_NAME", "GIT_COMMITTER_EMAIL")
            };
            set.push((person, author.0));
            set.push((mail, author.1));
        }
        let done = self.commit_with(branch, before.as_deref(), files, message, &set);
        // The index is this call's own; a left one would only be a stray file.
        fs::remove_file(&index).ok();
        done
    }

    fn commit_with(
        &self,
        branch: &str,
        before: Option<&str>,
        files: &BTreeMap<String, String>,
        message: &str,
        set: &[(&str, &str)],
    ) -> Result<String, String> {
        let word = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).trim().to_string();
        if let Some(before) = before {
            self.git(&["read-tree", before], b"", set)?;
        }
        let mut entries = String::new();
        for (path, text) in files {
            let id = word(self.git(&["hash-object", "-w", "--stdin"], text.as_bytes(), set)?);
            entries.push_str(&["100644 ", &id, "\t", path, "\n"].concat());
        }
        self.git(
            &["update-index", "--add", "--index-info"],
            entries.as_bytes(),
            set,
        )?;
        let tree = word(self.git(&["write-tree"], b"", set)?);
        if let Some(before) = before {
            let old = word(self.git(&["rev-parse", &format!("{before}^{{tree}}")], b"", set)?);
            if old == tree {
                return Ok(before.to_string());
            }
        }
        let mut words = vec!["commit-tree", &tree, "-F", "-"];
        if let Some(before) = before {
            words.extend(["-p", before]);
        }
        let commit = word(self.git(&words, message.as_bytes(), set)?);
        let name = format!("refs/heads/{branch}");
        let zero = "0".repeat(40);
        self.git(
            &["update-ref", &name, &commit, before.unwrap_or(&zero)],
            b"",
            set,
        )?;
        Ok(commit)
    }

    fn git(&self, words: &[&str], input: &[u8], set: &[(&str, &str)]) -> Result<Vec<u8>, String> {
        git(Some(&self.path), words, input, set)
    }
}

/// Runs `git`; returns what it says, or why not.
#[expect(
    clippy::disallowed_methods,
    reason = "the remote is served by the real git; this is the one place that starts it"
)]
pub(crate) fn git(
    bare: Option<&Path>,
    words: &[&str],
    input: &[u8],
    set: &[(&str, &str)],
) -> Result<Vec<u8>, String> {
    let mut command = Command::new("git");
    if let Some(bare) = bare {
        command.arg("--git-dir").arg(bare);
    }
    command
        .args(words)
        .env("GIT_TERMINAL_PROMPT", "0")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    // Somebody's hook may have started the lab; it is about another repository.
    for name in ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX"] {
        command.env_remove(name);
    }
    for (name, value) in set {
        command.env(name, value);
    }
    let mut child = command
        .spawn()
        .map_err(|error| format!("the lab's Git remote needs `git` on the PATH: {error}"))?;
    let mut pipe = child.stdin.take().ok_or("git has no stdin")?;
    let input = input.to_vec();
    let writer = std::thread::spawn(move || pipe.write_all(&input));
    let output = child
        .wait_with_output()
        .map_err(|error| format!("git: {error}"))?;
    // git may end without reading all; its exit code tells.
    writer.join().ok();
    if output.status.success() {
        return Ok(output.stdout);
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_string();
    Err(format!("git {}: {said}", words.join(" ")))
}
