//! Kubernetes, played: objects, an API server, what a cluster does, charts, Helm, kustomize.
//!
//! What a cluster does is in [`models`]: functions over a small store. They know no files and no clock.

mod api;
mod charts;
mod envsubst;
mod helm;
mod kinds;
mod kustomize;
mod models;
mod objects;
mod outside;
mod value;

#[cfg(test)]
mod tests;
