//! Which objects are refused outright: their pixels may hold text, or they are documents, films, directories.

use dicom_stream::{FileHeader, Tag};

use crate::pixels::{frames_of, native_length, overlay_stays};
use crate::refusal::{Kind, Refusal};
use crate::rules::PixelRisk;
use crate::survey::{Facts, is_well_known};

/// Storage classes of the images that a scanner makes without people's text: CT, MR, PET and their enhanced kinds.
const LOW_RISK_CLASSES: [&str; 11] = [
    "1.2.840.10008.5.1.4.1.1.2",
    "1.2.840.10008.5.1.4.1.1.2.1",
    "1.2.840.10008.5.1.4.1.1.2.2",
    "1.2.840.10008.5.1.4.1.1.4",
    "1.2.840.10008.5.1.4.1.1.4.1",
    "1.2.840.10008.5.1.4.1.1.4.2",
    "1.2.840.10008.5.1.4.1.1.4.3",
    "1.2.840.10008.5.1.4.1.1.4.4",
    "1.2.840.10008.5.1.4.1.1.128",
    "1.2.840.10008.5.1.4.1.1.128.1",
    "1.2.840.10008.5.1.4.1.1.130",
];

/// The one of them whose images have colours: Enhanced MR Color.
const COLOUR_CLASS: &str = "1.2.840.10008.5.1.4.1.1.4.3";

/// RT Dose: a grid of doses that a planning system computed, no picture, so it has no image type.
const DOSE_CLASS: &str = "1.2.840.10008.5.1.4.1.1.481.2";

/// Encapsulated PDF, CDA, STL, OBJ, MTL.
const DOCUMENT_CLASSES: &str = "1.2.840.10008.5.1.4.1.1.104.";

/// Video endoscopic, microscopic and photographic image storage.
const VIDEO_CLASSES: [&str; 3] = [
    "1.2.840.10008.5.1.4.1.1.77.1.1.1",
    "1.2.840.10008.5.1.4.1.1.77.1.2.1",
    "1.2.840.10008.5.1.4.1.1.77.1.4.1",
];

/// Waveforms: electrocardiograms, pressures, pulses, breath, electroencephalograms, and sound.
const WAVEFORM_CLASSES: &str = "1.2.840.10008.5.1.4.1.1.9.";

/// Voice and general audio.
const AUDIO_CLASSES: &str = "1.2.840.10008.5.1.4.1.1.9.4.";

/// Media storage directory.
const DIRECTORY_CLASS: &str = "1.2.840.10008.1.3.10";

/// Uncompressed syntaxes.
const PLAIN: [&str; 4] =
    ["1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.2"];

/// Whether the pixels of this syntax come in fragments.
pub(crate) fn is_encapsulated(syntax: &str) -> bool {
    !PLAIN.contains(&syntax)
}

/// Refuses syntaxes that would have to be understood to be copied: private ones, referenced pixels, and films.
pub(crate) fn check_syntax(syntax: &str) -> Result<(), Refusal> {
    if PLAIN.contains(&syntax) {
        return Ok(());
    }
    let unsupported = || {
        Err(Refusal::new(
            Kind::Unsupported,
            "unsupported-syntax",
            "the transfer syntax is not one that is handled",
        ))
    };
    // RLE, and one deflated fragment a frame.
    if matches!(syntax, "1.2.840.10008.1.2.5" | "1.2.840.10008.1.2.8.1") {
        return Ok(());
    }
    let Some(number) = syntax.strip_prefix("1.2.840.10008.1.2.4.") else { return unsupported() };
    // Only films have a part behind the number (fragmentable ones); any other text would reach the file meta group.
    match number.strip_suffix(".1").unwrap_or(number).parse::<u16>() {
        // JPEG, JPEG-LS, JPEG 2000 (without JPIP, 94 and 95), JPEG XL, HTJ2K (without JPIP, 204 and 205).
        Ok(50..=93 | 110..=112 | 201..=203) if !number.contains(['.', '+']) && !number.starts_with('0') => {
            Ok(())
        }
        Ok(100..=109) => Err(Refusal::new(Kind::Policy, "video", "films are not de-identified")),
        _ => unsupported(),
    }
}

/// Refuses objects by what the survey found.
pub(crate) fn check_object(header: &FileHeader, facts: &Facts, risk: PixelRisk) -> Result<(), Refusal> {
    let classes = [header.sop_class.as_str(), facts.sop_class.as_str()];
    if classes.contains(&DIRECTORY_CLASS) || facts.has_directory {
        return Err(Refusal::new(
            Kind::Unsupported,
            "media-directory",
            "a directory points to other files by offset",
        ));
    }
    if facts.has_document || classes.iter().any(|class| class.starts_with(DOCUMENT_CLASSES)) {
        return Err(Refusal::new(Kind::Policy, "encapsulated-document", "documents are not de-identified"));
    }
    if classes.iter().any(|class| VIDEO_CLASSES.contains(class)) {
        return Err(Refusal::new(Kind::Policy, "video", "films are not de-identified"));
    }
    let is_waveform = |class: &str| class.starts_with(WAVEFORM_CLASSES) && is_well_known(class);
    let class = if facts.sop_class.is_empty() { &header.sop_class } else { &facts.sop_class };
    let is_audio = classes.iter().any(|class| class.starts_with(AUDIO_CLASSES));
    if is_audio || facts.has_waveform && !is_waveform(class) {
        return Err(Refusal::new(Kind::Policy, "video", "what may be a recorded voice is not de-identified"));
    }
    if !facts.has_pixels {
        return Ok(());
    }
    // What stands behind the image is blanked, so where it ends has to be certain, whoever reads it.
    let is_certain = |tag: &Tag| native_length(facts, *tag, header.encoding).is_some();
    if facts.has_odd_geometry || frames_of(facts).is_none() || !facts.native.iter().all(is_certain) {
        let why = "the attributes of the image do not say how large it is";
        return Err(Refusal::new(Kind::Malformed, "structure", why));
    }
    if risk == PixelRisk::DangerouslyAccept {
        return Ok(());
    }
    // Which rule it is stands in the code: the sentence stays in the local log.
    let refuse = |code, why: &str| Err(Refusal::new(Kind::NeedsReview, code, why));
    let modality = facts.modality.as_str();
    if !matches!(modality, "CT" | "MR" | "PT" | "RTDOSE") {
        return refuse("burned-in-risk-modality", "images of this modality are always checked");
    }
    let class = facts.sop_class.as_str();
    let is_dose = modality == "RTDOSE" && class == DOSE_CLASS;
    if !is_dose && (modality == "RTDOSE" || !LOW_RISK_CLASSES.contains(&class)) {
        return refuse("burned-in-risk-class", "objects of this class are always checked");
    }
    if !matches!(facts.burned_in.as_str(), "" | "NO") {
        return refuse("burned-in-risk-said", "the object says that text is burned in");
    }
    if !matches!(facts.recognizable.as_str(), "" | "NO") {
        return refuse("burned-in-risk-recognizable", "the object says that a person can be recognised");
    }
    let grey = facts.photometric.is_empty() || facts.photometric.starts_with("MONOCHROME");
    if class != COLOUR_CLASS && !(grey && facts.number(0x0028_0002).unwrap_or(1) == 1) {
        return refuse(
            "burned-in-risk-colour",
            "images of this class have no colours, so it is a picture of a screen",
        );
    }
    if overlay_stays(facts, header.encoding) {
        return refuse(
            "burned-in-risk-overlay",
            "an overlay stands in the cells of the pixels and cannot be cleared",
        );
    }
    if facts.has_screen {
        return refuse("burned-in-risk-screen", "the type of the image or of a frame names a screen");
    }
    if is_dose && facts.image_type.is_empty() {
        return Ok(());
    }
    let mut kinds = facts.image_type.split('\\').map(str::trim);
    if kinds.next() != Some("ORIGINAL") || kinds.next() != Some("PRIMARY") {
        return refuse("burned-in-risk-not-original", "the image is not an original, primary one");
    }
    if kinds.any(|kind| matches!(kind, "DERIVED" | "SECONDARY")) {
        return refuse("burned-in-risk-derived", "the image type names a derived image");
    }
    Ok(())
}
