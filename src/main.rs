//! The command line of `bootstrap`.

fn main() {}
