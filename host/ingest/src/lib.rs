//! How inputs come in: today from a folder, once or for as long as the folder is watched.
//!
//! [`Folder::scan`] lists what is there; [`Watch`] tells of what comes. A file that is still being written is told of
//! when its writer closes it or renames it into place. Links are not followed and hidden files are left alone. This
//! crate knows nothing of what the files hold.

mod folder;
mod watch;

pub use folder::{Folder, Found, IngestError};
pub use watch::{Event, Watch};
