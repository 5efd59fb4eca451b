//! `lab`: the machine room that the program is rehearsed in.

mod answer;
mod clock;
mod cobra;
mod machineconfig;
mod pki;
mod talosctl;

fn main() {}
