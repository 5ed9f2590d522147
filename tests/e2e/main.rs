//! End to end: real processes on this machine, real files, no sleeps.

mod architecture;
mod dicom;
mod run;
