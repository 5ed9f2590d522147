//! The whole set of DICOM test files that ship with pydicom, for the long tests.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, bail};

use crate::build::{check, say, target};
use crate::tools;

/// Where the set is, once it was fetched.
pub(crate) fn folder() -> PathBuf {
    target().join("corpus")
}

/// Copies the set out of the pydicom that the tests use, and returns its folder.
pub(crate) fn fetch() -> anyhow::Result<PathBuf> {
    tools::install()?;
    let Some(python) = tools::python() else { bail!("the tests' Python is missing after its installation") };
    let corpus = folder();
    std::fs::create_dir_all(&corpus).context("making target/corpus")?;
    say("copying pydicom's test files to target/corpus");
    let script = "import pathlib, shutil, sys, pydicom.data\n\
        source = pathlib.Path(pydicom.data.__file__).parent\n\
        names = [p for folder in ('test_files', 'charset_files') for p in sorted((source / folder).rglob('*')) if p.is_file()]\n\
        for p in names:\n    shutil.copyfile(p, pathlib.Path(sys.argv[1]) / '__'.join(p.relative_to(source).parts))\n\
        print(len(names), 'files')\n";
    check(Command::new(python).args(["-c", script]).arg(&corpus))?;
    Ok(corpus)
}
