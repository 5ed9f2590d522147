//! The host functions of a stage: `martello:pipeline/{types,host,log,pseudonyms}`.
//!
//! They are linked by hand where bytes flow: a read shares the payload's memory until it is copied into the guest, a
//! write goes from the guest's memory straight into the spool. One copy each way.

use bytes::Bytes;
use martello_pipeline::FaultKind;
use martello_vocab::Name;
use wasmtime::component::{Linker, Resource, ResourceType, WasmList};
use wasmtime::{AsContext, Result, StoreContextMut};

use super::bindings::martello::pipeline::{log::Level, types};
use super::{DeviceFailure, PseudonymError, Pseudonyms, StageState};
use crate::guest::Guest;
use crate::log::LogLevel;
use crate::meter::Breach;
use crate::payload::{Payload, Spool};

/// The most that one `payload.read` returns (`martello:pipeline/types`).
const MOST_READ: u32 = 16 << 20;

/// Attributes of one output, and the bytes of a name or value.
const MOST_ATTRIBUTES: usize = 64;
const LONGEST_ATTRIBUTE: usize = 4 << 10;

/// Outputs that one call may complete, whatever their size: each costs the host a few hundred bytes that no budget
/// counts. An object of 512 frames, each an image and a tensor, makes 1024.
const MOST_OUTPUTS: usize = 4096;

/// A sink in the hands of a guest; empty once it is finished.
#[expect(unreachable_pub, reason = "the generated bindings re-export it")]
pub struct Sink(Option<Spool>);

pub(super) type WitFault = types::Fault;

/// The package whose interfaces are linked here.
pub(crate) const PACKAGE: &str = "martello:pipeline/";

pub(crate) fn link<S: Send + 'static>(linker: &mut Linker<Guest<S>>) -> Result<()> {
    link_types(linker)?;
    link_host(linker)?;
    link_log(linker)?;
    link_pseudonyms(linker)
}

fn link_types<S: Send + 'static>(linker: &mut Linker<Guest<S>>) -> Result<()> {
    let mut types = linker.instance("martello:pipeline/types@0.1.0")?;
    types.resource("payload", ResourceType::host::<Payload>(), |mut store, rep| {
        store.data_mut().table.delete(Resource::<Payload>::new_own(rep))?;
        Ok(())
    })?;
    types.resource("sink", ResourceType::host::<Sink>(), |mut store, rep| {
        store.data_mut().table.delete(Resource::<Sink>::new_own(rep))?;
        Ok(())
    })?;
    types.func_wrap("[method]payload.media-type", |store: StoreContextMut<'_, Guest<S>>, (this,)| {
        Ok((payload(&store, &this)?.media_type().to_owned(),))
    })?;
    types.func_wrap("[method]payload.length", |store: StoreContextMut<'_, Guest<S>>, (this,)| {
        Ok((payload(&store, &this)?.len(),))
    })?;
    types.func_wrap("[method]payload.attributes", |store: StoreContextMut<'_, Guest<S>>, (this,)| {
        Ok((payload(&store, &this)?.attributes().to_vec(),))
    })?;
    types.func_wrap(
        "[method]payload.read",
        |mut store: StoreContextMut<'_, Guest<S>>, (this, offset, length): (Resource<Payload>, u64, u32)| {
            let length = usize::try_from(length.min(MOST_READ))?;
            let read = payload(&store, &this)?.read_at(offset, length);
            let read: Result<Bytes, WitFault> = read.map_err(|error| {
                tracing::error!(%error, "payload cannot be read");
                store.data_mut().stage.device_failed.get_or_insert(DeviceFailure::Reading);
                fault(FaultKind::Internal, "the payload cannot be read")
            });
            Ok((read,))
        },
    )?;
    types.func_wrap(
        "[method]sink.write",
        |mut store: StoreContextMut<'_, Guest<S>>, (this, bytes): (Resource<Sink>, WasmList<u8>)| {
            // The spool leaves the table for as long as the guest's memory is borrowed.
            let Some(mut spool) = store.data_mut().table.get_mut(&this)?.0.take() else {
                return Ok((Err(fault(FaultKind::Internal, "the output was finished before")),));
            };
            let written = write(&mut store, &mut spool, &bytes);
            store.data_mut().table.get_mut(&this)?.0 = Some(spool);
            Ok((written,))
        },
    )?;
    types.func_wrap("[method]sink.finish", |mut store: StoreContextMut<'_, Guest<S>>, (this,)| {
        let guest = store.data_mut();
        let finished: Result<Bytes, WitFault> =
            match guest.table.get_mut::<Sink>(&this)?.0.take().map(Spool::complete) {
                Some(Ok(_)) if guest.stage.outputs.len() >= MOST_OUTPUTS => {
                    guest.meter.broke(Breach::Output, || format!("more than {MOST_OUTPUTS} outputs"));
                    Err(fault(FaultKind::Limit, "the call has completed as many outputs as it may"))
                }
                Some(Ok(output)) => {
                    let digest = Bytes::copy_from_slice(output.digest.as_bytes());
                    guest.stage.outputs.push(output);
                    Ok(digest)
                }
                Some(Err(_)) => Err(fault(FaultKind::Limit, "the output was not written whole")),
                None => Err(fault(FaultKind::Internal, "the output was finished before")),
            };
        Ok((finished,))
    })
}

fn write<S: Send + 'static>(
    store: &mut StoreContextMut<'_, Guest<S>>,
    spool: &mut Spool,
    bytes: &WasmList<u8>,
) -> Result<(), WitFault> {
    if spool.is_torn() {
        return Err(fault(FaultKind::Limit, "the output was not written whole"));
    }
    let slice = bytes.as_le_slice(store.as_context());
    let length = slice.len();
    // Appending and charging are in this order because the slice borrows the store; the budget decides either way,
    // and a spool over it is torn before anything can come of it.
    let room = store.data().meter.output_room();
    if (length as u64) <= room
        && let Err(error) = spool.append(slice)
    {
        tracing::error!(%error, "output cannot be written");
        store.data_mut().stage.device_failed.get_or_insert(DeviceFailure::Writing);
        return Err(fault(FaultKind::Internal, "the output cannot be written"));
    }
    store.data_mut().meter.spend_output(length).map_err(|_| {
        spool.tear();
        fault(FaultKind::Limit, "the output budget is used up")
    })
}

fn link_host<S: Send + 'static>(linker: &mut Linker<Guest<S>>) -> Result<()> {
    let mut host = linker.instance("martello:pipeline/host@0.1.0")?;
    host.func_wrap("setting", |store: StoreContextMut<'_, Guest<S>>, (name,): (String,)| {
        let settings = &store.data().stage.settings;
        Ok((name.parse::<Name>().ok().and_then(|name| settings.get(&name).cloned()),))
    })?;
    host.func_wrap("asset", |mut store: StoreContextMut<'_, Guest<S>>, (name,): (String,)| {
        let guest = store.data_mut();
        let asset = name.parse::<Name>().ok().and_then(|name| guest.stage.assets.get(&name).cloned());
        let opened: Result<Resource<Payload>, WitFault> = match asset {
            Some(payload) => Ok(guest.table.push(payload)?),
            None => Err(fault(FaultKind::Policy, "the asset is not granted")),
        };
        Ok((opened,))
    })?;
    host.func_wrap(
        "open-output",
        |mut store: StoreContextMut<'_, Guest<S>>,
         (port, media_type, attributes): (String, String, Vec<(String, String)>)| {
            let guest = store.data_mut();
            // They stay with the host as long as the bytes do, and are paid for from the same budget.
            let texts = attributes.iter().flat_map(|(name, value)| [name, value]).chain([&media_type]);
            let described = texts.fold(0_usize, |sum, text| sum.saturating_add(text.len()));
            if guest.meter.spend_output(described).is_err() {
                return Ok((Err(fault(FaultKind::Limit, "the output budget is used up")),));
            }
            let opened: Result<Resource<Sink>, WitFault> =
                match guest.stage.open(&port, media_type, attributes) {
                    Ok(spool) => Ok(guest.table.push(Sink(Some(spool)))?),
                    Err(refusal) => {
                        guest.meter.broke(Breach::Contract, || format!("{refusal}: port {port:?}"));
                        Err(fault(FaultKind::Policy, refusal))
                    }
                };
            Ok((opened,))
        },
    )
}

impl StageState {
    fn open(
        &self,
        port: &str,
        media_type: String,
        attributes: Vec<(String, String)>,
    ) -> Result<Spool, &'static str> {
        let Some(port) = self.ports.iter().find(|declared| declared.as_str() == port) else {
            return Err("the port is not declared");
        };
        if media_type.len() > 127 || !media_type.contains('/') || media_type.chars().any(char::is_control) {
            return Err("the media type is none");
        }
        let too_long = |text: &String| text.len() > LONGEST_ATTRIBUTE;
        if attributes.len() > MOST_ATTRIBUTES
            || attributes.iter().any(|(name, value)| too_long(name) || too_long(value))
        {
            return Err("the attributes are too many or too long");
        }
        Ok(Spool::new(port.clone(), media_type, attributes, self.spool_folder.clone()))
    }
}

fn link_log<S: Send + 'static>(linker: &mut Linker<Guest<S>>) -> Result<()> {
    let mut log = linker.instance("martello:pipeline/log@0.1.0")?;
    log.func_wrap("write", |store: StoreContextMut<'_, Guest<S>>, (level, message): (Level, String)| {
        let level = match level {
            Level::Trace => LogLevel::Trace,
            Level::Debug => LogLevel::Debug,
            Level::Info => LogLevel::Info,
            Level::Warn => LogLevel::Warn,
            Level::Error => LogLevel::Error,
        };
        store.data().log.line(level, &message);
        Ok(())
    })
}

fn link_pseudonyms<S: Send + 'static>(linker: &mut Linker<Guest<S>>) -> Result<()> {
    let mut pseudonyms = linker.instance("martello:pipeline/pseudonyms@0.1.0")?;
    pseudonyms.func_wrap("uid", |store: StoreContextMut<'_, Guest<S>>, (value,): (String,)| {
        Ok((ask(&store, |pseudonyms| pseudonyms.uid(&value)),))
    })?;
    pseudonyms.func_wrap("uids", |store: StoreContextMut<'_, Guest<S>>, (values,): (Vec<String>,)| {
        Ok((ask(&store, |pseudonyms| {
            values.iter().map(|value| pseudonyms.uid(value)).collect::<Result<Vec<_>, _>>()
        }),))
    })?;
    pseudonyms.func_wrap("subject", |store: StoreContextMut<'_, Guest<S>>, (value,): (String,)| {
        Ok((ask(&store, |pseudonyms| pseudonyms.subject(&value)),))
    })?;
    pseudonyms.func_wrap("shift-days", |store: StoreContextMut<'_, Guest<S>>, (subject,): (String,)| {
        Ok((ask(&store, |pseudonyms| pseudonyms.shift_days(&subject)),))
    })?;
    pseudonyms.func_wrap("key-id", |store: StoreContextMut<'_, Guest<S>>, (): ()| {
        let pseudonyms = store.data().stage.pseudonyms.as_deref();
        Ok((pseudonyms.map_or_else(String::new, |pseudonyms| pseudonyms.key_id()),))
    })
}

fn ask<S: Send + 'static, T>(
    store: &StoreContextMut<'_, Guest<S>>,
    question: impl FnOnce(&dyn Pseudonyms) -> Result<T, PseudonymError>,
) -> Result<T, WitFault> {
    match store.data().stage.pseudonyms.as_deref() {
        None => Err(fault(FaultKind::Policy, "pseudonyms are not granted")),
        Some(pseudonyms) => {
            question(pseudonyms).map_err(|error| fault(FaultKind::Malformed, &error.to_string()))
        }
    }
}

fn payload<'a, S: Send + 'static>(
    store: &'a StoreContextMut<'_, Guest<S>>,
    this: &Resource<Payload>,
) -> Result<&'a Payload> {
    Ok(store.data().table.get(this)?)
}

fn fault(kind: FaultKind, text: &str) -> WitFault {
    let text = text.to_owned();
    match kind {
        FaultKind::Malformed => WitFault::Malformed(text),
        FaultKind::Unsupported => WitFault::Unsupported(text),
        FaultKind::Limit => WitFault::Limit(text),
        FaultKind::Policy => WitFault::Policy(text),
        FaultKind::NeedsReview => WitFault::NeedsReview(text),
        FaultKind::Internal => WitFault::Internal(text),
    }
}
