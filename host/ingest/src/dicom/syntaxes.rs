//! Which objects and encodings are taken.

use super::names::Uid;

/// Verification, the class of C-ECHO.
const VERIFICATION: &str = "1.2.840.10008.1.1";
/// Storage classes of the standard: everything that begins so is one (PS3.4 annex B.5, PS3.6 annex A), those of a later
/// edition too.
const STORAGE: &str = "1.2.840.10008.5.1.4.1.1.";
/// Storage classes that stand elsewhere: RT beams and brachytherapy delivery instructions.
const OTHER_STORAGE: [&str; 3] =
    ["1.2.840.10008.5.1.4.34.1", "1.2.840.10008.5.1.4.34.7", "1.2.840.10008.5.1.4.34.10"];

/// Transfer syntaxes that every shipped component reads, by what is behind `1.2.840.10008.1.2`: uncompressed, deflated,
/// RLE, JPEG, JPEG 2000 with and without high throughput (`components/dicom-render`).
const READ: [&str; 14] = [
    "", ".1", ".1.99", ".2", ".5", ".4.50", ".4.51", ".4.57", ".4.70", ".4.90", ".4.91", ".4.201", ".4.202",
    ".4.203",
];

/// Those that the de-identifier reads and the renderer refuses: JPEG-LS, JPEG 2000 part 2, JPEG XL, deflated frames. What
/// comes so ends in quarantine where the pipeline renders, and is not lost. Films and pixels by reference are not taken.
const COPIED: [&str; 8] = [".4.80", ".4.81", ".4.92", ".4.93", ".4.110", ".4.111", ".4.112", ".8.1"];

/// What a presentation context is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Service {
    Verification,
    Storage,
}

/// What an abstract syntax asks for, where that is served.
pub(crate) fn service(abstract_syntax: &Uid) -> Option<Service> {
    let uid = abstract_syntax.as_str();
    if uid == VERIFICATION {
        return Some(Service::Verification);
    }
    let is_storage = uid.strip_prefix(STORAGE).is_some_and(|rest| !rest.is_empty());
    (is_storage || OTHER_STORAGE.contains(&uid)).then_some(Service::Storage)
}

/// The one of these that is taken, if any: the first that everything reads, else the first that can be copied. A sender
/// names first what it has, and so need not convert.
pub(crate) fn choose(proposed: &[Uid]) -> Option<&Uid> {
    let first_of = |known: &[&str]| {
        proposed.iter().find(|syntax| {
            let rest = syntax.as_str().strip_prefix("1.2.840.10008.1.2");
            rest.is_some_and(|rest| known.contains(&rest))
        })
    };
    first_of(&READ).or_else(|| first_of(&COPIED))
}

/// How a data set's elements are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Encoding {
    ImplicitLittle,
    ExplicitLittle,
    ExplicitBig,
    Deflated,
}

/// How the data set of a transfer syntax is written.
pub(crate) fn encoding(transfer_syntax: &Uid) -> Encoding {
    match transfer_syntax.as_str() {
        "1.2.840.10008.1.2" => Encoding::ImplicitLittle,
        "1.2.840.10008.1.2.2" => Encoding::ExplicitBig,
        "1.2.840.10008.1.2.1.99" => Encoding::Deflated,
        _ => Encoding::ExplicitLittle,
    }
}
