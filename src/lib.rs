//! `bootstrap` takes clusters from bare metal to a running platform, by playbooks.
//!
//! The modules, in the order in which text becomes a run: [`document`] → [`template`], [`kind`], [`inventory`], [`playbook`], [`project`], [`tree`] →
//! [`plan`] → [`run`] → [`engine`] (with [`journal`]) → [`perform`], [`observe`] → [`cli`]. Leaves beside them: [`secret`], [`process`],
//! [`workspace`].

pub mod cli;
pub mod document;
pub mod engine;
pub mod inventory;
pub mod journal;
pub mod kind;
pub mod observe;
pub mod perform;
pub mod plan;
pub mod playbook;
pub mod process;
pub mod project;
pub mod run;
pub mod secret;
pub mod template;
pub mod tree;
pub mod workspace;
