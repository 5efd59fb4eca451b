//! What 1Password holds: vaults, items, fields, and the session that opens them.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

/// A vault.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Vault {
    /// 26 letters.
    pub(crate) id: String,
    /// Its name.
    pub(crate) name: String,
    /// Its items, archived ones too.
    pub(crate) items: Vec<Item>,
    /// Counts changes.
    pub(crate) content_version: u64,
    /// Every secret value that was ever in it.
    pub(crate) ever: BTreeSet<String>,
}

/// An item.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Item {
    /// 26 letters.
    pub(crate) id: String,
    /// Its title.
    pub(crate) title: String,
    /// Its tags.
    pub(crate) tags: Vec<String>,
    /// Starts at 1; each edit adds one.
    pub(crate) version: u64,
    /// The category, as in JSON.
    pub(crate) category: String,
    /// When it was made.
    pub(crate) created_ms: u64,
    /// When it was last changed.
    pub(crate) updated_ms: u64,
    /// Sections: id and label.
    pub(crate) sections: Vec<(String, Option<String>)>,
    /// Its fields.
    pub(crate) fields: Vec<Field>,
    /// Whether it is in the archive.
    pub(crate) archived: bool,
}

/// A field of an item.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Field {
    /// A word for template fields, else 26 letters.
    pub(crate) id: String,
    /// The id of its section.
    pub(crate) section: Option<String>,
    /// `STRING`, `CONCEALED` …
    pub(crate) kind: String,
    /// `NOTES`, `USERNAME`, `PASSWORD`.
    pub(crate) purpose: Option<String>,
    /// Its label.
    pub(crate) label: String,
    /// Its value.
    pub(crate) value: String,
}

/// The session of 1Password.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Session {
    /// Whether somebody signed out, or the session has expired.
    pub(crate) over: Over,
    /// How many calls have asked the server since the last sign-in.
    pub(crate) calls: u64,
    /// When `op-rate-limit` began.
    pub(crate) limited_ms: Option<u64>,
}

/// Whether, and why, a session is over.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Over {
    /// It is not.
    #[default]
    No,
    /// `op signout`.
    SignedOut,
    /// It expired and waits for `op signin`.
    Expired,
    /// It expired and comes back at this moment.
    Until(u64),
}

impl Vault {
    /// Remembers the secret values of an item for ever.
    pub(crate) fn remember(&mut self, item: &Item) {
        for field in &item.fields {
            let public = field.label.to_lowercase().ends_with("crt");
            if field.kind == "CONCEALED" && !public && !field.value.is_empty() {
                self.ever.insert(field.value.clone());
            }
        }
    }
}
