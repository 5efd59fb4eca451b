//! Kubeconfig files: read, merged as `talosctl kubeconfig` merges them, written.

use serde_json::{Map, Value, json};

/// A kubeconfig.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Kubeconfig {
    value: Value,
}

/// One cluster, user and context, as a node hands them out.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    /// The cluster's name.
    pub(crate) cluster: String,
    /// The server.
    pub(crate) server: String,
    /// The CA, base64.
    pub(crate) ca: String,
    /// The client's certificate, base64.
    pub(crate) crt: String,
    /// The client's key, base64.
    pub(crate) key: String,
}

/// What to do about names that are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Clash {
    /// Take another name.
    Rename,
    /// Take the old one's place.
    Overwrite,
}

impl Kubeconfig {
    /// Reads a file's text; an empty one is an empty config.
    pub(crate) fn read(text: &str) -> Result<Self, String> {
        let value: Value = if text.trim().is_empty() {
            json!({})
        } else {
            serde_yaml::from_str(text).map_err(|error| error.to_string())?
        };
        let mut value = if value.is_object() { value } else { json!({}) };
        for list in ["clusters", "contexts", "users"] {
            if !value[list].is_array() {
                value[list] = json!([]);
            }
        }
        Ok(Self { value })
    }

    /// Returns a config with one entry, its context current.
    pub(crate) fn of(entry: &Entry) -> Self {
        let mut config = Self {
            value: json!({ "clusters": [], "contexts": [], "users": [] }),
        };
        let user = format!("admin@{}", entry.cluster);
        config.put("clusters", &entry.cluster, &entry.cluster_value());
        config.put("users", &user, &entry.user_value());
        config.put(
            "contexts",
            &user,
            &json!({ "cluster": entry.cluster, "namespace": "default", "user": user }),
        );
        config.value["current-context"] = json!(user);
        config
    }

    /// Merges an entry in; returns the lines that `talosctl` prints.
    pub(crate) fn merge(
        &mut self,
        entry: &Entry,
        clash: Clash,
        context: Option<&str>,
    ) -> Vec<String> {
        let mut lines = Vec::new();
        let original = format!("admin@{}", entry.cluster);
        let cluster = self.place(
            "cluster",
            "clusters",
            &entry.cluster,
            &entry.cluster_value(),
            clash,
            &mut lines,
        );
        let user = self.place(
            "auth info",
            "users",
            &original,
            &entry.user_value(),
            clash,
            &mut lines,
        );
        let wanted = context.unwrap_or(&original).to_string();
        let value = json!({ "cluster": cluster, "namespace": "default", "user": user });
        // The real code looks a forced context name up among the clusters.
        let list = if context.is_some() {
            "clusters"
        } else {
            "contexts"
        };
        let taken =
            self.names(list).contains(&wanted) && self.get("contexts", &wanted) != Some(&value);
        let name = if taken && clash == Clash::Rename {
            self.free("contexts", list, &wanted)
        } else {
            wanted
        };
        if name != original {
            lines.push(format!("renamed context \"{original}\" -> \"{name}\""));
        }
        self.put("contexts", &name, &value);
        self.value["current-context"] = json!(name);
        lines
    }

    fn place(
        &mut self,
        kind: &str,
        list: &str,
        wanted: &str,
        value: &Value,
        clash: Clash,
        lines: &mut Vec<String>,
    ) -> String {
        let mut name = wanted.to_string();
        if self.get(list, wanted).is_some_and(|old| old != value) && clash == Clash::Rename {
            name = self.free(list, list, wanted);
            lines.push(format!("renamed {kind} \"{wanted}\" -> \"{name}\""));
        }
        self.put(list, &name, value);
        name
    }

    fn free(&self, list: &str, other: &str, wanted: &str) -> String {
        let taken =
            |name: &String| self.names(list).contains(name) || self.names(other).contains(name);
        let mut names = (1..).map(|number| format!("{wanted}-{number}"));
        names
            .find(|name| !taken(name))
            .expect("there are more numbers than names")
    }

    fn member(list: &str) -> &'static str {
        match list {
            "clusters" => "cluster",
            "users" => "user",
            _ => "context",
        }
    }

    /// Returns the names in one of the lists.
    pub(crate) fn names(&self, list: &str) -> Vec<String> {
        let entries = self.value[list].as_array();
        entries
            .into_iter()
            .flatten()
            .filter_map(|entry| entry["name"].as_str().map(ToString::to_string))
            .collect()
    }

    /// Returns an entry of one of the lists.
    pub(crate) fn get(&self, list: &str, name: &str) -> Option<&Value> {
        let entries = self.value[list].as_array()?;
        entries
            .iter()
            .find(|entry| entry["name"] == name)
            .map(|entry| &entry[Self::member(list)])
    }

    fn put(&mut self, list: &str, name: &str, value: &Value) {
        let entry = json!({ Self::member(list): value, "name": name });
        let Some(entries) = self.value[list].as_array_mut() else {
            return;
        };
        match entries.iter_mut().find(|entry| entry["name"] == name) {
            Some(old) => *old = entry,
            None => entries.push(entry),
        }
    }

    /// Returns the current context's name.
    pub(crate) fn current(&self) -> &str {
        self.value["current-context"].as_str().unwrap_or_default()
    }

    /// Returns the whole as a value with the usual members.
    pub(crate) fn value(&self) -> Value {
        let mut members = Map::new();
        members.insert("apiVersion".to_string(), json!("v1"));
        members.insert("kind".to_string(), json!("Config"));
        for list in ["clusters", "users", "contexts"] {
            members.insert(list.to_string(), self.value[list].clone());
        }
        members.insert("current-context".to_string(), json!(self.current()));
        Value::Object(members)
    }

    /// Returns the file's text.
    pub(crate) fn to_yaml(&self) -> String {
        serde_yaml::to_string(&self.value()).unwrap_or_default()
    }
}

impl Entry {
    fn cluster_value(&self) -> Value {
        json!({ "certificate-authority-data": self.ca, "server": self.server })
    }

    fn user_value(&self) -> Value {
        json!({ "client-certificate-data": self.crt, "client-key-data": self.key })
    }
}

#[cfg(test)]
mod tests {
    use super::{Clash, Entry, Kubeconfig};

    fn entry(cluster: &str, crt: &str) -> Entry {
        Entry {
            cluster: cluster.to_string(),
            server: format!("https://{cluster}:6443"),
            ca: "Y2E=".to_string(),
            crt: crt.to_string(),
            key: "a2V5".to_string(),
        }
    }

    #[test]
    fn into_an_empty_file_with_a_forced_name() {
        let mut config = Kubeconfig::read("").unwrap();
        let lines = config.merge(&entry("infra", "1"), Clash::Overwrite, Some("infra"));
        // The cluster `infra` has just been placed, but force overwrites.
        assert_eq!(lines, ["renamed context \"admin@infra\" -> \"infra\""]);
        assert_eq!(config.current(), "infra");
        assert_eq!(config.names("contexts"), ["infra"]);
        assert_eq!(
            Kubeconfig::read(&config.to_yaml()).unwrap().names("users"),
            ["admin@infra"]
        );
    }

    #[test]
    fn a_second_plain_call_renames_user_and_context() {
        let mut config = Kubeconfig::of(&entry("infra", "1"));
        let lines = config.merge(&entry("infra", "2"), Clash::Rename, None);
        assert_eq!(
            lines,
            [
                "renamed auth info \"admin@infra\" -> \"admin@infra-1\"",
                "renamed context \"admin@infra\" -> \"admin@infra-1\""
            ]
        );
        assert_eq!(config.current(), "admin@infra-1");
    }

    #[test]
    fn a_forced_name_without_force_clashes_with_the_cluster() {
        let mut config = Kubeconfig::of(&entry("infra", "1"));
        let lines = config.merge(&entry("infra", "2"), Clash::Rename, Some("infra"));
        assert_eq!(lines[1], "renamed context \"admin@infra\" -> \"infra-1\"");
    }

    #[test]
    fn two_clusters_live_side_by_side() {
        let mut config = Kubeconfig::of(&entry("infra", "1"));
        config.merge(&entry("apps", "2"), Clash::Overwrite, Some("apps"));
        assert_eq!(config.names("clusters"), ["infra", "apps"]);
        assert_eq!(config.names("contexts"), ["admin@infra", "apps"]);
    }
}
