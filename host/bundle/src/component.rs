//! What a component file says of itself: which interfaces it imports and exports.

use wasmparser::{Encoding, Parser, Payload, Validator};

/// The interfaces of a component, each sorted, as `package/interface@version`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interfaces {
    /// What it wants of the host.
    pub imports: Vec<String>,
    /// What it offers.
    pub exports: Vec<String>,
}

/// A file that is not a component.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ComponentError {
    /// It is a core module.
    #[error("reading a component: it is a core module; build it for `wasm32-wasip2`")]
    CoreModule,
    /// It is not valid WebAssembly.
    #[error("reading a component: {0}")]
    Invalid(String),
}

impl Interfaces {
    /// Validates a component and reads its outer imports and exports.
    ///
    /// # Errors
    /// Where the bytes are not a valid component.
    pub fn of(component: &[u8]) -> Result<Self, ComponentError> {
        let invalid = |error: wasmparser::BinaryReaderError| ComponentError::Invalid(error.to_string());
        let mut interfaces = Self { imports: Vec::new(), exports: Vec::new() };
        let mut depth = 0_u32;
        for payload in Parser::new(0).parse_all(component) {
            match payload.map_err(invalid)? {
                Payload::Version { encoding: Encoding::Module, .. } if depth == 0 => {
                    return Err(ComponentError::CoreModule);
                }
                Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
                Payload::End(_) => depth = depth.saturating_sub(1),
                Payload::ComponentImportSection(section) if depth == 0 => {
                    for import in section {
                        interfaces.imports.push(import.map_err(invalid)?.name.name.to_owned());
                    }
                }
                Payload::ComponentExportSection(section) if depth == 0 => {
                    for export in section {
                        interfaces.exports.push(export.map_err(invalid)?.name.name.to_owned());
                    }
                }
                _ => {}
            }
        }
        Validator::new().validate_all(component).map_err(invalid)?;
        interfaces.imports.sort_unstable();
        interfaces.exports.sort_unstable();
        Ok(interfaces)
    }
}
