//! The played `talosctl`, version 1.11.2.

pub(crate) mod offline;
