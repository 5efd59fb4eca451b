//! `lab`: the machine room that the program is rehearsed in.

mod answer;
mod chance;
mod clock;
mod cobra;
mod facts;
mod fault;
mod machineconfig;
mod pki;
mod site;
mod talosctl;
mod vault;
mod world;

fn main() {}
