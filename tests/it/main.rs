//! All integration tests, in one binary.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on ends")]

#[cfg(target_os = "linux")]
mod cancel;
mod commands;
#[cfg(target_os = "linux")]
mod conformance;
#[cfg(target_os = "linux")]
mod corpus;
#[cfg(target_os = "linux")]
mod crash;
#[cfg(target_os = "linux")]
mod drift;
#[cfg(target_os = "linux")]
mod drill;
#[cfg(target_os = "linux")]
mod faults;
mod fidelity;
mod gitops_judges;
#[cfg(target_os = "linux")]
mod gitops_lab;
mod gitops_rules;
mod gitops_tree;
mod invalid;
mod lab;
#[cfg(target_os = "linux")]
mod laws;
#[cfg(target_os = "linux")]
mod leak;
mod limits;
#[cfg(target_os = "linux")]
mod pace;
#[cfg(target_os = "linux")]
mod printed;
#[cfg(target_os = "linux")]
mod process;
#[cfg(target_os = "linux")]
mod real;
#[cfg(target_os = "linux")]
mod real_gitops;
#[cfg(target_os = "linux")]
mod rebuild;
#[cfg(target_os = "linux")]
mod rebuild_drill;
#[cfg(target_os = "linux")]
mod rebuild_larger;
mod shrink;
#[cfg(target_os = "linux")]
mod small;
mod story;
mod tidy;
#[cfg(target_os = "linux")]
mod trust;
mod tutorial;
mod wait;
