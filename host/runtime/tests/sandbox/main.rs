//! The sandbox against guests that misbehave (`tests/guests`), with the real compiler in its own process.

#[cfg(test)]
mod cache;
#[cfg(test)]
mod guests;
#[cfg(test)]
mod harness;
#[cfg(test)]
mod limits;
#[cfg(test)]
mod loading;
#[cfg(test)]
mod serving;
#[cfg(test)]
mod stage;
#[cfg(test)]
mod standard;
#[cfg(test)]
mod worlds;
