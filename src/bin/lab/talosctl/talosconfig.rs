//! The talosconfig file: where it is, how it is read, how it is written.

use std::env;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use std::collections::BTreeMap;

use crate::answer::Answer;
use crate::cobra::Invocation;

/// A talosconfig.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(crate) struct Talosconfig {
    /// The current context.
    pub(crate) context: String,
    /// The contexts by name.
    pub(crate) contexts: BTreeMap<String, Context>,
}

/// A context of a talosconfig.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(crate) struct Context {
    /// Where to connect to.
    pub(crate) endpoints: Vec<String>,
    /// Whom to ask.
    pub(crate) nodes: Vec<String>,
    /// The machine CA, base64.
    pub(crate) ca: String,
    /// The client's certificate, base64.
    pub(crate) crt: String,
    /// The client's key, base64.
    pub(crate) key: String,
}

impl Talosconfig {
    /// Loads the file that flags and environment name; makes an empty one if there is none.
    pub(crate) fn load(call: &Invocation) -> Result<(Self, PathBuf), Answer> {
        let given = call.flag("talosconfig").unwrap_or_default();
        let path = path(given);
        let shown = if call.path.starts_with("config") {
            "error reading config: ".to_string()
        } else {
            format!("failed to open config file \"{given}\": ")
        };
        let config = Self::read(&path).map_err(|why| call.fail(format!("{shown}{why}")))?;
        Ok((config, path))
    }

    /// Reads a file; an absent one is made.
    pub(crate) fn read(path: &Path) -> Result<Self, String> {
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let empty = Self::default();
                empty.save(path)?;
                return Ok(empty);
            }
            Err(error) => return Err(format!("open {}: {error}", path.display())),
        };
        if text.trim().is_empty() {
            return Err("EOF".to_string());
        }
        serde_yaml::from_str(&text).map_err(|error| format!("yaml: {error}"))
    }

    /// Writes the file, mode 0600.
    pub(crate) fn save(&self, path: &Path) -> Result<(), String> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(|error| error.to_string())?;
        }
        let mut options = fs::OpenOptions::new();
        let mut file = options
            .create(true)
            .write(true)
            .truncate(true)
            .mode(0o600)
            .open(path)
            .map_err(|error| format!("open {}: {error}", path.display()))?;
        file.write_all(self.to_yaml().as_bytes())
            .map_err(|error| error.to_string())
    }

    /// Returns the file's text as Go writes it.
    pub(crate) fn to_yaml(&self) -> String {
        let mut text = vec![format!("context: {}", quoted(&self.context))];
        if self.contexts.is_empty() {
            text.push("contexts: {}".to_string());
        } else {
            text.push("contexts:".to_string());
        }
        for (name, context) in &self.contexts {
            text.push(format!("    {}:", quoted(name)));
            for (key, words) in [("endpoints", &context.endpoints), ("nodes", &context.nodes)] {
                if words.is_empty() {
                    if key == "endpoints" {
                        text.push("        endpoints: []".to_string());
                    }
                    continue;
                }
                text.push(format!("        {key}:"));
                text.extend(
                    words
                        .iter()
                        .map(|word| format!("            - {}", quoted(word))),
                );
            }
            for (key, value) in [
                ("ca", &context.ca),
                ("crt", &context.crt),
                ("key", &context.key),
            ] {
                if !value.is_empty() {
                    text.push(format!("        {key}: {value}"));
                }
            }
        }
        text.join("\n") + "\n"
    }

    /// Returns the context that a call uses.
    pub(crate) fn pick(&self, wanted: Option<&str>) -> Result<Context, String> {
        if self.contexts.is_empty() && self.context.is_empty() {
            return Err("talos config file is empty".to_string());
        }
        let (name, head) = match wanted {
            Some(name) => (name, "context"),
            None => (self.context.as_str(), "default context"),
        };
        self.contexts
            .get(name)
            .cloned()
            .ok_or_else(|| format!("{head} \"{name}\" not found in config"))
    }
}

fn quoted(word: &str) -> String {
    if word.is_empty() {
        "\"\"".to_string()
    } else {
        word.to_string()
    }
}

fn path(given: &str) -> PathBuf {
    if !given.is_empty() {
        return PathBuf::from(given);
    }
    let home = PathBuf::from(env::var_os("HOME").unwrap_or_default()).join(".talos/config");
    let named = env::var_os("TALOSCONFIG")
        .filter(|path| !path.is_empty())
        .map(PathBuf::from);
    let places = [
        named.clone(),
        Some(home.clone()),
        Some(PathBuf::from("/var/run/secrets/talos.dev/config")),
    ];
    places
        .into_iter()
        .flatten()
        .find(|path| path.exists())
        .or(named)
        .unwrap_or(home)
}

#[cfg(test)]
mod tests {
    use super::{Context, Talosconfig};

    #[test]
    fn what_is_written_can_be_read() {
        let mut config = Talosconfig {
            context: "infra".to_string(),
            ..Talosconfig::default()
        };
        let context = Context {
            endpoints: vec!["10.25.11.11".to_string()],
            ca: "Y2E=".to_string(),
            ..Context::default()
        };
        config.contexts.insert("infra".to_string(), context);
        let read: Talosconfig = serde_yaml::from_str(&config.to_yaml()).unwrap();
        assert_eq!(read, config);
        assert_eq!(
            Talosconfig::default().to_yaml(),
            "context: \"\"\ncontexts: {}\n"
        );
    }

    #[test]
    fn a_missing_context_is_named() {
        let mut config = Talosconfig {
            context: "gone".to_string(),
            ..Talosconfig::default()
        };
        assert_eq!(
            config.pick(Some("nope")).unwrap_err(),
            "context \"nope\" not found in config"
        );
        assert_eq!(
            config.pick(None).unwrap_err(),
            "default context \"gone\" not found in config"
        );
        config.context = String::new();
        assert_eq!(config.pick(None).unwrap_err(), "talos config file is empty");
    }
}
