//! Which execution provider took which part of a graph: the one question that the binding crate does not ask.

#![expect(unsafe_code, reason = "Session_GetEpGraphAssignmentInfo of ONNX Runtime 1.24 has no safe wrapper")]

use std::ffi::CStr;
use std::ptr;
use std::slice;

use ort::AsPointer;
use ort::session::Session;

/// Set on a session so that it keeps the answer.
pub(super) const RECORD: (&str, &str) = ("session.record_ep_graph_assignment_info", "1");

/// The providers with the number of nodes that each took, most first. Empty where every node was folded away.
pub(super) fn assignments(session: &Session) -> ort::Result<Vec<(String, usize)>> {
    let api = ort::api();
    let mut subgraphs = ptr::null();
    let mut count = 0;
    // SAFETY: the session is alive; on success the call leaves an array of `count` pointers that the session owns.
    let subgraphs = unsafe {
        let status =
            (api.Session_GetEpGraphAssignmentInfo)(session.ptr(), &raw mut subgraphs, &raw mut count);
        ort::Error::result_from_status(status)?;
        if count == 0 { &[] } else { slice::from_raw_parts(subgraphs, count) }
    };
    let mut found: Vec<(String, usize)> = Vec::new();
    for &subgraph in subgraphs {
        let mut name = ptr::null();
        let (mut nodes, mut count) = (ptr::null(), 0);
        // SAFETY: the subgraph belongs to the session; its name is a C string that lives as long.
        let name = unsafe {
            ort::Error::result_from_status((api.EpAssignedSubgraph_GetEpName)(subgraph, &raw mut name))?;
            let status = (api.EpAssignedSubgraph_GetNodes)(subgraph, &raw mut nodes, &raw mut count);
            ort::Error::result_from_status(status)?;
            CStr::from_ptr(name).to_string_lossy().into_owned()
        };
        match found.iter_mut().find(|(known, _)| *known == name) {
            Some((_, nodes)) => *nodes = nodes.saturating_add(count),
            None => found.push((name, count)),
        }
    }
    found.sort_by_key(|(_, nodes)| std::cmp::Reverse(*nodes));
    Ok(found)
}
