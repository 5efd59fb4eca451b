//! Kubernetes, played: objects, an API server, what a cluster does, charts, Helm, kustomize.
//!
//! What a cluster does is in [`models`]: functions over a small store. They know no files and no clock.

pub(crate) mod api;
pub(crate) mod charts;
pub(crate) mod envsubst;
pub(crate) mod helm;
pub(crate) mod kinds;
pub(crate) mod kustomize;
pub(crate) mod models;
mod objects;
mod outside;
pub(crate) mod value;

pub(crate) use objects::{Objects, Store};
pub(crate) use outside::{Essentials, Machine, Outside, Zone};
pub(crate) use value::kind_of;

#[cfg(test)]
pub(crate) mod tests;
