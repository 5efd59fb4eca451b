//! `lab`: the machine room that the program is rehearsed in.

fn main() {}
