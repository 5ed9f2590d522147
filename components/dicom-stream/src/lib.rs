//! dicom-stream
