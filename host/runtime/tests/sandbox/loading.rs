//! What may be loaded at all.

use martello_runtime::{ImportGrants, ImportRefusal, LoadError};
use martello_vocab::{ByteCount, Limits};

use crate::harness::{built, sandbox, stage_of_core, trusted};

#[test]
fn a_component_of_another_world_is_refused_with_what_it_exports() {
    for (guest, export) in [
        ("command", "wasi:cli/run@"),
        ("http-hello", "wasi:http/incoming-handler@"),
        ("http-runaway", "wasi:http/"),
    ] {
        match sandbox().load(&trusted(built(guest)), &Limits::default(), &ImportGrants::default()) {
            Err(LoadError::WrongWorld { expected, exports }) => {
                assert_eq!(expected, "martello:pipeline/stage@0.1.0");
                assert!(exports.iter().any(|found| found.starts_with(export)), "{exports:?}");
            }
            other => panic!("{guest}: {other:?}"),
        }
    }
}

#[test]
fn an_import_that_the_manifest_does_not_list_is_refused() {
    let echo = trusted(built("echo"));
    let declared = ["wasi:io/streams@0.2.6".to_owned()];
    match sandbox().load(&echo, &Limits::default(), &ImportGrants::declared(&declared)) {
        Err(LoadError::Imports { refused }) => {
            assert!(refused.len() > 3, "{refused:?}");
            assert!(refused.iter().all(|(import, refusal)| {
                *refusal == ImportRefusal::Undeclared && import != "wasi:io/streams@0.2.6"
            }));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_packing_reads_from_a_component_is_what_loading_asks_for() {
    let name: martello_vocab::Name = "echo".parse().unwrap();
    let bundle =
        martello_bundle::ephemeral(name.clone(), built("echo"), Limits::default(), Vec::new()).unwrap();
    let imports = &bundle.manifest().component(&name).unwrap().imports;
    let component = bundle.component(&name).unwrap();
    sandbox().load(&component, &Limits::default(), &ImportGrants::declared(imports)).unwrap();
}

#[test]
fn a_component_of_wasi_nn_is_refused_by_a_runtime_without_it() {
    let text = r#"(module
      (import "wasi:nn/graph@0.2.0-rc-2024-10-28" "[resource-drop]graph" (func (param i32)))
      (memory (export "memory") 1)
      (func (export "martello:pipeline/stage@0.1.0#process") (param i32) (result i32) unreachable)
      (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) unreachable))"#;
    match sandbox().load(&trusted(stage_of_core(text)), &Limits::default(), &ImportGrants::default()) {
        Err(LoadError::Imports { refused }) => {
            assert_eq!(refused, [("wasi:nn/graph@0.2.0-rc-2024-10-28".to_owned(), ImportRefusal::Unknown)]);
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn limits_beyond_any_bundles_are_refused() {
    let limits = Limits { memory_bytes: ByteCount::mebibytes(5000), ..Limits::default() };
    let refused = sandbox().load(&trusted(built("echo")), &limits, &ImportGrants::default());
    assert!(matches!(refused, Err(LoadError::Limits(_))), "{refused:?}");
}
