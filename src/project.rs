//! A project as it lies in its folder: playbooks, inventory and templates, read together.

use std::path::{Path, PathBuf};

use crate::document::{self, Diagnostic, Diagnostics, Sources};
use crate::inventory::Inventory;
use crate::playbook::{self, Playbook};
use crate::template::Templates;

/// Where playbooks lie below the project.
pub const PLAYBOOKS: &str = "playbooks";

/// Everything that was read.
#[derive(Debug, Clone)]
pub struct Project {
    /// The folder, absolute.
    pub root: PathBuf,
    /// The files, for pointing at them.
    pub sources: Sources,
    /// The declared work.
    pub playbook: Playbook,
    /// The machines.
    pub inventory: Inventory,
    /// The environment for templates.
    pub templates: Templates,
}

/// What is wrong with a project, with the files to point at.
#[derive(Debug)]
pub struct Broken {
    /// The files.
    pub sources: Sources,
    /// The problems.
    pub problems: Diagnostics,
    /// What could be read, where more problems can be looked for: every file is YAML and the inventory is sound.
    pub partial: Option<Project>,
}

impl Project {
    /// All that anybody can read in the playbooks and the inventory.
    pub fn public_text(&self) -> String {
        self.sources.texts().collect::<Vec<_>>().join("\n")
    }

    /// Reads the project in `root`. Problems of shape, of the inventory's types and of its lints are all told at once.
    pub fn load(root: &Path) -> Result<Self, Box<Broken>> {
        let mut sources = Sources::default();
        let mut problems = Diagnostics::default();
        let playbook =
            playbook::read::read(root, Path::new(PLAYBOOKS), &mut sources, &mut problems);
        let before = problems.len();
        let inventory = read_inventory(root, &playbook, &mut sources, &mut problems);
        let sound = problems.len() == before && playbook.whole;
        let templates = Templates::new(root, playbook.commands_by_tool());
        inventory.lint(&templates, &sources, &mut problems);
        let project = Self {
            root: root.to_path_buf(),
            sources,
            playbook,
            inventory,
            templates,
        };
        if problems.is_empty() {
            return Ok(project);
        }
        Err(Box::new(Broken {
            sources: project.sources.clone(),
            problems,
            partial: sound.then_some(project),
        }))
    }
}

fn read_inventory(
    root: &Path,
    playbook: &Playbook,
    sources: &mut Sources,
    problems: &mut Diagnostics,
) -> Inventory {
    let (name, span) = match &playbook.inventory {
        Some((name, span)) => (name.as_str(), Some(*span)),
        None => ("inventory.yaml", None),
    };
    let Ok(path) = crate::template::below(root, name) else {
        problems.push(Diagnostic::at(
            span.unwrap_or_default(),
            format!("the inventory `{name}` is not below the project's folder"),
        ));
        return Inventory::default();
    };
    if path.is_dir() {
        problems.push(
            Diagnostic::at(
                span.unwrap_or_default(),
                format!("the inventory is a file, but `{name}` is a folder"),
            )
            .help("the path is relative to the project's folder"),
        );
        return Inventory::default();
    }
    if !path.exists() {
        if let Some(span) = span {
            problems.push(
                Diagnostic::at(span, format!("there is no inventory `{name}`"))
                    .help("the path is relative to the project's folder"),
            );
        }
        return Inventory::default();
    }
    document::read(&path, Path::new(name), sources, problems)
        .and_then(|node| Inventory::read(root, &node, problems))
        .unwrap_or_default()
}
