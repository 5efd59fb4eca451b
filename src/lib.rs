//! `bootstrap` takes clusters from bare metal to a running platform, by playbooks.

pub mod journal;
pub mod process;
pub mod secret;
pub mod workspace;
