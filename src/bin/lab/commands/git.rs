//! The room's Git remote, as a command in the room sees it, and a project folder as Flux wants it.

use std::env;
use std::fs;
use std::path::Path;

use crate::remote::{Remote, git};
use crate::text::lines;

/// Files with keys that a project must not take into Git.
const IGNORED: [&str; 3] = [
    "/talos/talosconfig",
    "/kubernetes/kubeconfig",
    ".bootstrap/",
];

/// Returns what tells git that the room's URL is the folder in the world, and that nothing else is to be contacted.
pub(super) fn environment(remote: &Remote, url: &str) -> Vec<(String, String)> {
    let path = remote.path().display();
    let mut settings = Vec::new();
    if !url.is_empty() {
        // The longer one wins where both match.
        for address in [url.to_string(), format!("{url}.git")] {
            settings.push((format!("url.{path}.insteadOf"), address));
        }
    }
    for (key, value) in [("user.name", "lab"), ("user.email", "lab@localhost")] {
        if git(None, &["config", "--get", key], b"", &[]).is_err() {
            settings.push((key.to_string(), value.to_string()));
        }
    }
    let before: usize = env::var("GIT_CONFIG_COUNT")
        .ok()
        .and_then(|count| count.parse().ok())
        .unwrap_or(0);
    let mut all = vec![
        ("GIT_ALLOW_PROTOCOL".to_string(), "file".to_string()),
        ("GIT_TERMINAL_PROMPT".to_string(), "0".to_string()),
        (
            "GIT_CONFIG_COUNT".to_string(),
            (before + settings.len()).to_string(),
        ),
    ];
    for (index, (key, value)) in settings.into_iter().enumerate() {
        let index = before + index;
        all.push((format!("GIT_CONFIG_KEY_{index}"), key));
        all.push((format!("GIT_CONFIG_VALUE_{index}"), value));
    }
    all
}

/// Makes a folder a Git work tree whose commit is in the remote, as story 3.1 wants to find it. What is there already stays.
pub(super) fn adopt(remote: &Remote, folder: &Path) -> Result<String, String> {
    let folder = folder
        .canonicalize()
        .map_err(|error| format!("`{}`: {error}", folder.display()))?;
    let place = folder.to_string_lossy().into_owned();
    let run = |words: &[&str]| {
        let mut all = vec!["-C", place.as_str()];
        all.extend(words);
        git(None, &all, b"", &[]).map(|said| String::from_utf8_lossy(&said).trim().to_string())
    };
    let mut said = Vec::new();
    // A folder inside of somebody's repository becomes one of its own.
    let top = run(&["rev-parse", "--show-toplevel"]).ok();
    if top.and_then(|top| Path::new(&top).canonicalize().ok()) != Some(folder.clone()) {
        run(&["init", "--quiet", "--initial-branch", "main"])?;
        said.push(format!("lab: {place} is a Git repository now"));
    }
    if run(&["rev-parse", "--verify", "--quiet", "HEAD"]).is_err() {
        ignore(&folder)?;
        run(&["add", "--all"])?;
        // Nobody is there who could unlock a key.
        let mut words = vec!["-c", "commit.gpgsign=false"];
        if run(&["config", "--get", "user.email"]).is_err() {
            words.extend(["-c", "user.name=lab", "-c", "user.email=lab@localhost"]);
        }
        words.extend(["commit", "--quiet", "--message", "The project"]);
        run(&words)?;
        said.push("lab: all of it is committed".to_string());
    }
    let branch = run(&["rev-parse", "--abbrev-ref", "HEAD"])?;
    let target = remote.path().to_string_lossy().into_owned();
    let pushed = format!("HEAD:refs/heads/{branch}");
    run(&["push", "--quiet", &target, &pushed])?;
    let head = run(&["rev-parse", "HEAD"])?;
    said.push(format!("lab: {branch} of the remote is {head}"));
    Ok(lines(said))
}

fn ignore(folder: &Path) -> Result<(), String> {
    let path = folder.join(".gitignore");
    let mut text = fs::read_to_string(&path).unwrap_or_default();
    for line in IGNORED {
        if !text.lines().any(|known| known.trim() == line) {
            if !text.is_empty() && !text.ends_with('\n') {
                text.push('\n');
            }
            text.push_str(&lines([line]));
        }
    }
    fs::write(&path, text).map_err(|error| format!("`{}`: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::{adopt, environment};
    use crate::remote::{Remote, git};
    use std::collections::BTreeMap;
    use std::fs;

    const URL: &str = "https://git.example.org/group/tree";

    #[test]
    fn the_rooms_address_is_the_folder_and_no_other_address_is_contacted() {
        let room = tempfile::tempdir().unwrap();
        let remote = Remote::new(room.path().join("remote.git"));
        remote.create().unwrap();
        let files = BTreeMap::from([("a".to_string(), "x".to_string())]);
        let commit = remote
            .commit("main", &files, "one", ("t", "t@example.org"))
            .unwrap();
        let environment = environment(&remote, URL);
        let set: Vec<(&str, &str)> = environment
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        for address in [URL.to_string(), format!("{URL}.git")] {
            let said = git(None, &["ls-remote", &address, "refs/heads/main"], b"", &set).unwrap();
            assert_eq!(
                String::from_utf8(said).unwrap(),
                format!("{commit}\trefs/heads/main\n")
            );
        }
        let refused = git(
            None,
            &["ls-remote", "https://elsewhere.example.org/x"],
            b"",
            &set,
        )
        .unwrap_err();
        assert!(
            refused.contains("transport 'https' not allowed"),
            "{refused}"
        );
    }

    #[test]
    fn a_folder_becomes_a_work_tree_that_is_pushed_and_holds_no_keys() {
        let room = tempfile::tempdir().unwrap();
        let remote = Remote::new(room.path().join("remote.git"));
        remote.create().unwrap();
        let project = room.path().join("project");
        fs::create_dir_all(project.join("kubernetes")).unwrap();
        fs::write(project.join("kubernetes/kubeconfig"), "keys").unwrap();
        fs::write(project.join("kubernetes/a.yaml"), "a: 1\n").unwrap();
        fs::write(project.join(".gitignore"), "/mine").unwrap();
        let said = adopt(&remote, &project).unwrap();
        let head = remote.head("main").unwrap();
        assert!(
            said.ends_with(&format!("lab: main of the remote is {head}\n")),
            "{said}"
        );
        let names: Vec<String> = remote.files(&head, "").unwrap().keys().cloned().collect();
        assert_eq!(names, [".gitignore", "kubernetes/a.yaml"]);
        let ignored = fs::read_to_string(project.join(".gitignore")).unwrap();
        assert_eq!(
            ignored,
            "/mine\n/talos/talosconfig\n/kubernetes/kubeconfig\n.bootstrap/\n"
        );
        // Said again it does nothing: commits are the project's own business.
        fs::write(project.join("kubernetes/b.yaml"), "b: 1\n").unwrap();
        adopt(&remote, &project).unwrap();
        assert_eq!(remote.head("main").unwrap(), head);
    }

    #[test]
    fn what_somebody_else_pushed_is_not_thrown_away() {
        let room = tempfile::tempdir().unwrap();
        let remote = Remote::new(room.path().join("remote.git"));
        remote.create().unwrap();
        let files = BTreeMap::from([("a".to_string(), "x".to_string())]);
        let commit = remote
            .commit("main", &files, "one", ("t", "t@example.org"))
            .unwrap();
        let project = room.path().join("project");
        fs::create_dir(&project).unwrap();
        assert!(adopt(&remote, &project).unwrap_err().contains("git -C"));
        assert_eq!(remote.head("main"), Some(commit));
    }
}
