//! Bundles: what runs together, pinned by one signed manifest and carried as an OCI image layout.
//!
//! A bundle is a folder or a tar archive that OCI tools can read. [`open`] follows it to its manifest, verifies the
//! signatures, and hands out components, models and assets as [`Trusted<Blob>`](martello_trust::Blob), each hashed
//! when it is read. [`Draft`] is the way in: it packs files into a layout whose bytes depend on the input alone.
//! [`ephemeral()`] wraps a bare component for trying things out, without weakening that rule.
//!
//! This crate deliberately knows no clock and no network, and nothing of how a bundle runs. The only module that
//! opens files is `files`; everything else works on a [`BlobSource`] or on bytes.
//!
//! Start with [`manifest`], then [`open`].

mod archive;
mod check;
mod component;
mod ephemeral;
mod error;
mod files;
#[cfg(any(test, feature = "fuzzing"))]
#[expect(clippy::unwrap_used, reason = "what it makes is the same each time")]
mod fixtures;
mod layout;
pub mod manifest;
pub mod onnx;
mod open;
mod pack;
mod source;

pub use archive::{Archive, write_archive};
pub use check::{ManifestError, SCHEMA, ValidManifest};
pub use component::{ComponentError, Interfaces};
pub use ephemeral::{EphemeralError, EphemeralModel, ephemeral, ephemeral_of};
pub use error::BundleError;
pub use files::{Folder, open_path, source_at, write_folder};
pub use layout::{
    BLOB_FOLDER, INDEX_FILE, LARGEST_DOCUMENT, LAYOUT_FILE, ONNX_MEDIA_TYPE, RAW_MEDIA_TYPE,
    WASM_CONFIG_MEDIA_TYPE, WASM_MEDIA_TYPE,
};
pub use open::{GoldenTensors, UnverifiedBundle, VerifiedBundle, open};
pub use pack::{Draft, DraftError, Packed};
pub use source::{BlobSource, MemorySource, SourceError};

/// Bodies of the fuzz targets: they panic where a rule of this crate does not hold.
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzz;
