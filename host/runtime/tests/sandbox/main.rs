//! The sandbox against guests that misbehave (`tests/guests`), with the real compiler in its own process.

mod cache;
mod figures;
mod guests;
mod harness;
mod limits;
mod loading;
mod stage;
mod worlds;
