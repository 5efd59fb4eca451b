//! `bootstrap` takes clusters from bare metal to a running platform, by playbooks.
//!
//! The modules, in the order in which text becomes a run: [`document`] → [`template`], [`inventory`], [`playbook`] → [`plan`] → [`run`] →
//! [`engine`] (with [`journal`]) → [`perform`], [`observe`] → [`cli`].

pub mod document;
pub mod inventory;
pub mod kind;
pub mod plan;
pub mod playbook;
pub mod project;
pub mod run;
pub mod template;
