//! dicom-deid
