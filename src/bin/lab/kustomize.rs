//! The played `kustomize`, 5.7.1: `build` of the part that the project's tree uses.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::answer::Answer;
use crate::cobra::{Invocation, Tool, parse};
use crate::kubernetes::kustomize::{self, Fault, Files, normal};

const NAMES: [&str; 3] = ["kustomization.yaml", "kustomization.yml", "Kustomization"];

/// Plays a call.
pub(crate) fn run(words: &[String]) -> Answer {
    let call = match parse(Tool::Kustomize, words) {
        Ok(call) => call,
        Err(answer) => return answer,
    };
    let played = match call.path.as_str() {
        "version" => call.plays(&["help"]).map(|()| Answer::out("v5.7.1\n")),
        "build" => build(&call),
        path => Err(Answer::not_played(&format!("kustomize {path}"))),
    };
    played.unwrap_or_else(|answer| answer)
}

fn error(text: &str) -> Answer {
    Answer::fail(1, format!("Error: {text}\n"))
}

fn build(call: &Invocation) -> Result<Answer, Answer> {
    call.plays(&["help"])?;
    if call.args.len() > 1 {
        return Err(error("specify one path to kustomization.yaml"));
    }
    let given = call.args.first().map_or(".", String::as_str);
    let here = env::current_dir().map_err(|why| error(&why.to_string()))?;
    let path = here.join(given);
    let Ok(folder) = path.canonicalize() else {
        let wanted = PathBuf::from(format!("/{}", normal(&path.to_string_lossy())));
        return Err(error(&format!(
            "must build at directory: not a valid directory: evalsymlink failure on '{given}' : lstat {}: no such file or directory",
            wanted.display()
        )));
    };
    if !NAMES.iter().any(|name| folder.join(name).is_file()) {
        return Err(error(&format!(
            "unable to find one of 'kustomization.yaml', 'kustomization.yml' or 'Kustomization' in directory '{}'",
            folder.display()
        )));
    }
    let mut files = Files::new();
    gather(&folder, &mut files);
    match kustomize::build(&files, &folder.to_string_lossy()) {
        Ok(objects) => Ok(Answer::out(kustomize::yaml(&objects))),
        Err(Fault::Build(why)) => Err(error(&why)),
        Err(Fault::NotPlayed(what)) => Err(Answer::not_played(&what)),
    }
}

/// Reads what a folder's kustomization leads to. What is missing stays missing: building says so.
fn gather(folder: &Path, files: &mut Files) {
    let key = |path: &Path| normal(&path.to_string_lossy());
    for name in NAMES {
        let path = folder.join(name);
        let known = files.contains_key(&key(&path));
        let Some(text) = fs::read_to_string(&path).ok().filter(|_| !known) else {
            continue;
        };
        let plan: Value = serde_yaml::from_str(&text).unwrap_or_default();
        files.insert(key(&path), text);
        let lists = ["resources", "components", "bases"].map(|list| plan[list].as_array().cloned());
        for entry in lists.into_iter().flatten().flatten() {
            let path = folder.join(entry.as_str().unwrap_or_default());
            if path.is_dir() {
                gather(&path, files);
            } else if let Ok(text) = fs::read_to_string(&path) {
                files.insert(key(&path), text);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::run;
    use std::fs;
    use std::path::Path;

    fn put(folder: &Path, path: &str, text: &str) {
        let path = folder.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn build(folder: &Path) -> crate::answer::Answer {
        run(&["build".to_string(), folder.to_string_lossy().into_owned()])
    }

    const MAP: &str =
        "kind: ConfigMap\napiVersion: v1\nmetadata:\n  name: a\ndata:\n  z: '1'\n  b: two\n";

    #[test]
    fn a_folder_is_built_with_what_it_leads_to() {
        let folder = tempfile::tempdir().unwrap();
        put(
            folder.path(),
            "base/kustomization.yaml",
            "resources: [a.yaml]\n",
        );
        put(folder.path(), "base/a.yaml", MAP);
        put(
            folder.path(),
            "top/kustomization.yaml",
            "namespace: here\nresources: [../base]\n",
        );
        let answer = build(&folder.path().join("top"));
        assert_eq!(answer.stderr, "");
        assert_eq!(
            String::from_utf8(answer.stdout).unwrap(),
            "apiVersion: v1\ndata:\n  b: two\n  z: \"1\"\nkind: ConfigMap\nmetadata:\n  name: a\n  namespace: here\n"
        );
    }

    #[test]
    fn what_is_not_there_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().canonicalize().unwrap();
        let answer = build(&place);
        assert_eq!(answer.code, 1);
        assert_eq!(
            answer.stderr,
            format!(
                "Error: unable to find one of 'kustomization.yaml', 'kustomization.yml' or 'Kustomization' in directory '{}'\n",
                place.display()
            )
        );
        let answer = build(&place.join("no"));
        assert!(
            answer.stderr.starts_with(
                "Error: must build at directory: not a valid directory: evalsymlink failure on '"
            ),
            "{}",
            answer.stderr
        );
        put(&place, "kustomization.yaml", "resources: [none.yaml]\n");
        let answer = build(&place);
        assert_eq!(answer.code, 1);
        assert!(answer.stderr.contains("none.yaml"), "{}", answer.stderr);
    }

    #[test]
    fn what_the_lab_does_not_play_is_refused_and_not_left_out() {
        let folder = tempfile::tempdir().unwrap();
        put(
            folder.path(),
            "kustomization.yaml",
            "resources: []\nconfigMapGenerator: [{ name: x }]\n",
        );
        assert_eq!(build(folder.path()).code, 64);
    }
}
