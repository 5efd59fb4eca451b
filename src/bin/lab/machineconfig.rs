//! Machine configs: a stand-in until the real model of patches and validation is merged over this file.

/// What validation says.
#[derive(Debug, Default)]
pub(crate) struct Validation {
    /// Lines for `WARNING:`.
    pub(crate) warnings: Vec<String>,
    /// The error, in Talos's words.
    pub(crate) error: Option<String>,
}

/// Applies patches to a config; the stand-in knows none.
pub(crate) fn patch(config: &str, patches: &[String]) -> Result<String, String> {
    if patches.is_empty() { Ok(config.to_string()) } else { Err("patches are not played yet".to_string()) }
}

/// Validates a config; the stand-in only asks for a document with a machine.
pub(crate) fn validate(config: &str, _mode: &str, _strict: bool) -> Validation {
    let error = (!config.contains("machine:")).then(|| "machine instructions are required".to_string());
    Validation { warnings: Vec::new(), error }
}
