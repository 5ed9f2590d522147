//! dicom-render
