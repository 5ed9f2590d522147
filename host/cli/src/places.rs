//! Where things are on this machine.

use std::path::PathBuf;

/// The folder in which this machine keeps keys, compiled code and its pseudonym key: what was asked for, else
/// `$XDG_STATE_HOME/martello`, else `~/.local/state/martello` (XDG base directory specification).
pub(crate) fn state(asked: Option<PathBuf>) -> anyhow::Result<PathBuf> {
    if let Some(folder) = asked {
        return Ok(folder);
    }
    let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    absolute("XDG_STATE_HOME")
        .or_else(|| absolute("HOME").map(|home| home.join(".local/state")))
        .map(|folder| folder.join("martello"))
        .ok_or_else(|| anyhow::anyhow!("neither --state nor HOME says where to keep state"))
}
