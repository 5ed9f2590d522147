//! `martello`: packs, signs, verifies and runs bundles on this machine.

fn main() {}
