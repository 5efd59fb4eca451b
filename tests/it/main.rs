//! All integration tests, in one binary.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on ends")]

mod commands;
mod fidelity;
mod lab;
#[cfg(target_os = "linux")]
mod process;
mod story;
