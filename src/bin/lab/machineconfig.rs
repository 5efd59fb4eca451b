//! Machine configurations, as Talos's own library (v1.11.2) patches, validates and generates them.
//!
//! What documents look like is data from that library (`machineconfig/schema.json`); how it decodes, merges, writes and checks
//! is played here, with its texts. `make fidelity` compares the two over the corpora in `tests/fidelity`. Nothing here reads a
//! file or the clock.

mod custom;
mod decode;
mod delete;
mod document;
mod emitter;
mod encode;
mod generate;
mod go;
mod jsonpatch;
mod merge;
mod quoting;
mod scalar;
mod schema;
mod unknown;
mod url;
mod validate;
mod value;
mod yaml;

use document::Container;
pub(crate) use generate::{Generated, check_bundle, gen_config};

/// What validation says.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Validation {
    /// Lines for `WARNING:`.
    pub(crate) warnings: Vec<String>,
    /// The error, in Talos's words.
    pub(crate) error: Option<String>,
}

/// A patch, once it is known which of the two it is.
enum Patch {
    Strategic(Container),
    Json(Vec<jsonpatch::Operation>),
}

/// A configuration between two patches: the text that came in, or its documents.
enum Config {
    Text(String),
    Loaded(Container),
}

/// Applies patches, each the text of a strategic merge or of a JSON patch. The error is talosctl's.
pub(crate) fn patch(config: &str, patches: &[String]) -> Result<String, String> {
    let mut loaded: Vec<Patch> = Vec::new();
    for text in patches {
        match (load_patch(text)?, loaded.last_mut()) {
            (Patch::Json(steps), Some(Patch::Json(before))) => before.extend(steps),
            (patch, _) => loaded.push(patch),
        }
    }
    let mut config = Config::Text(config.to_owned());
    for patch in &loaded {
        config = match (patch, config) {
            (Patch::Json(steps), Config::Text(text)) => {
                Config::Text(jsonpatch::apply(&text, steps)?)
            }
            (Patch::Json(steps), Config::Loaded(container)) => {
                Config::Text(jsonpatch::apply(&container.write()?, steps)?)
            }
            (Patch::Strategic(patch), Config::Text(text)) => {
                Config::Loaded(Container::load(&text)?.merge(patch)?)
            }
            (Patch::Strategic(patch), Config::Loaded(container)) => {
                Config::Loaded(container.merge(patch)?)
            }
        };
    }
    match config {
        Config::Text(text) => Ok(text),
        Config::Loaded(container) => container.write(),
    }
}

/// What is no strategic merge may be a JSON patch; what is neither gets the complaint about the former.
fn load_patch(text: &str) -> Result<Patch, String> {
    match Container::load_patch(text) {
        Ok(container) => Ok(Patch::Strategic(container)),
        Err(fault) => jsonpatch::read(text).map(Patch::Json).ok_or(fault),
    }
}

/// Checks a configuration for a mode (`metal`, `cloud`, `container`).
pub(crate) fn validate(config: &str, mode: &str, strict: bool) -> Validation {
    let failed = |fault: String| Validation {
        warnings: Vec::new(),
        error: Some(fault),
    };
    match Container::load(config) {
        Err(fault) => failed(fault),
        Ok(_) if !["metal", "cloud", "container"].contains(&mode) => {
            failed(format!("unknown runtime mode: {}", go::quote(mode)))
        }
        Ok(container) => validate::validate(&container, mode, strict),
    }
}
