//! All integration tests, in one binary.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on ends")]

mod fidelity;
#[cfg(target_os = "linux")]
mod process;
