//! The host of `wasi:nn`: what an instance may reach, and the functions that it calls.

mod bindings;
mod functions;
mod record;
mod state;

pub use functions::add_to_linker;
pub use record::{Ran, Record};
pub use state::NnState;

#[cfg(test)]
mod tests;
