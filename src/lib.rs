//! `bootstrap` takes clusters from bare metal to a running platform, by playbooks.
