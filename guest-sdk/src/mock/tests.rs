//! Tests of the SDK over the mock host.

use std::io::{BufRead, Read, Seek, SeekFrom, Write};

use super::Host;
use crate::nn::{ErrorCode, NnError};
use crate::{ElementType, Fault, Level, Tensor, TensorView, debug};

fn ramp(length: usize) -> Vec<u8> {
    (0..length).map(|index| u8::try_from(index % 251).unwrap_or_default()).collect()
}

#[test]
fn a_payload_reads_the_same_whole_in_ranges_and_as_a_stream() {
    let bytes = ramp(200_001);
    let host = Host::new().payload(bytes.clone(), "application/test").attribute("rows", "2");
    let read = host.call(|input, _| {
        assert_eq!((input.len(), input.media_type().as_str()), (200_001, "application/test"));
        assert_eq!(input.attribute("rows").as_deref(), Some("2"));
        assert_eq!(input.read_all(200_001)?, bytes);
        let mut streamed = Vec::new();
        input.reader_with_buffer(4096).read_to_end(&mut streamed)?;
        assert_eq!(streamed, bytes);
        let mut tail = [0; 10];
        assert_eq!(input.read_at(199_996, &mut tail)?, 5);
        assert_eq!(&tail[..5], &bytes[199_996..]);
        assert_eq!(input.read_at(u64::MAX, &mut tail)?, 0);
        Ok(())
    });
    assert_eq!(read.map(|_| ()), Ok(()));
}

#[test]
fn payloads_over_one_call_are_read_in_several() {
    let bytes = ramp((16 << 20) + 7);
    let host = Host::new().payload(bytes.clone(), "a/b");
    let whole = host.call(|input, _| input.read_all(u64::MAX)).expect("reads").0;
    assert!(whole == bytes);
    assert_eq!(host.record().reads.len(), 2);
}

#[test]
fn a_payload_over_the_limit_is_refused_before_a_byte_is_read() {
    let host = Host::new().payload(ramp(11), "a/b");
    let fault = host.call(|input, _| input.read_all(10)).expect_err("too large");
    assert_eq!(fault.code(), Some("payload-too-large"));
    assert!(host.record().reads.is_empty());
}

#[test]
fn a_seek_inside_the_buffer_asks_the_host_for_nothing() {
    let host = Host::new().payload(ramp(1000), "a/b");
    let read = host.call(|input, _| {
        let mut reader = input.reader_with_buffer(100);
        let mut two = [0; 2];
        reader.read_exact(&mut two)?;
        reader.seek(SeekFrom::Start(50))?;
        reader.read_exact(&mut two)?;
        reader.seek(SeekFrom::Current(-52))?;
        assert_eq!((reader.position(), reader.remaining()), (0, 1000));
        reader.read_exact(&mut two)?;
        assert_eq!(two, [0, 1]);
        reader.seek(SeekFrom::End(-1))?;
        assert_eq!(reader.fill_buf()?, &ramp(1000)[999..]);
        assert!(reader.seek(SeekFrom::Current(-2000)).is_err());
        Ok(())
    });
    assert_eq!(read.map(|_| ()), Ok(()));
    assert_eq!(host.record().reads, [0..100, 999..1000]);
}

#[test]
fn a_large_read_goes_past_the_buffer_in_one_call() {
    let host = Host::new().payload(ramp(1 << 20), "a/b");
    host.call(|input, _| Ok(input.reader().read_exact(&mut vec![0; 1 << 20])?)).expect("reads");
    let reads = host.record().reads;
    assert_eq!((reads.len(), reads.first()), (1, Some(&(0..1 << 20))));
}

#[test]
fn a_read_that_fails_comes_through_the_stream_as_the_same_fault() {
    let fault = Fault::internal("input-unreadable: disk");
    let host = Host::new().payload(ramp(1000), "a/b").read_fails_at(600, fault.clone());
    let read = |input: &crate::Payload, _: &crate::Context| {
        let mut all = Vec::new();
        input.reader_with_buffer(500).read_to_end(&mut all)?;
        Ok(())
    };
    assert_eq!(host.call(read), Err(fault));
}

#[test]
fn small_writes_are_gathered_and_large_ones_go_straight() {
    let host = Host::new().port("out");
    let (digest, outputs) = host
        .call(|_, context| {
            let mut sink = context.open_output("out", "text/plain", &[("frame", "0")])?;
            for _ in 0..100 {
                sink.write(b"ten bytes.")?;
            }
            write!(sink, "{}", 42)?;
            sink.write(&ramp(100_000))?;
            assert_eq!(sink.written(), 101_002);
            sink.finish()
        })
        .expect("writes");
    assert_eq!(host.record().writes, [1002, 100_000]);
    assert_eq!(outputs[0].bytes.len(), 101_002);
    assert_eq!(outputs[0].attribute("frame"), Some("0"));
    assert_eq!(digest, <[u8; 32]>::from(<sha2::Sha256 as sha2::Digest>::digest(&outputs[0].bytes)));
}

#[test]
fn who_gathers_itself_writes_through_behind_what_was_gathered() {
    let host = Host::new().port("out");
    let (_, outputs) = host
        .call(|_, context| {
            let mut sink = context.open_output("out", "text/plain", &[])?;
            sink.write(b"first ")?;
            sink.write_through(b"second ")?;
            sink.write_through(b"third")?;
            assert_eq!(sink.written(), 18);
            sink.finish()
        })
        .expect("writes");
    assert_eq!(host.record().writes, [6, 7, 5]);
    assert_eq!(outputs[0].bytes, b"first second third");
}

#[test]
fn an_unfinished_output_is_discarded() {
    let host = Host::new().port("out");
    let (_, outputs) =
        host.call(|_, context| context.open_output("out", "a/b", &[])?.write(b"lost")).expect("writes");
    assert!(outputs.is_empty());
    assert_eq!(host.record().discarded, ["out"]);
}

#[test]
fn an_output_over_the_budget_fails_at_the_latest_when_it_is_finished() {
    let host = Host::new().port("out").output_limit(9);
    let written = host.call(|_, context| {
        let mut sink = context.open_output("out", "a/b", &[])?;
        sink.write(b"ten bytes.")?;
        sink.finish()
    });
    assert!(matches!(written, Err(Fault::Limit(_))), "{written:?}");
}

#[test]
fn undeclared_ports_assets_models_and_pseudonyms_are_refused() {
    let host = Host::new().without_pseudonyms().asset("table", b"x".to_vec());
    let asked = host.call(|_, context| {
        assert!(matches!(context.open_output("other", "a/b", &[]), Err(Fault::Policy(_))));
        assert!(matches!(context.asset("other"), Err(Fault::Policy(_))));
        assert!(matches!(context.pseudonyms().uid("1.2"), Err(Fault::Policy(_))));
        assert_eq!(context.graph("other").expect_err("no model").code(), Some("model-missing"));
        context.asset("table")?.read_all(9)
    });
    assert_eq!(asked.map(|(bytes, _)| bytes), Ok(b"x".to_vec()));
    assert_eq!(host.record().assets, ["other", "table"]);
}

#[test]
fn pseudonyms_are_stable_for_a_key_and_differ_between_keys() {
    let ask = |key: &[u8]| {
        let host = Host::new().pseudonym_key(key);
        let asked = host.call(|_, context| {
            let pseudonyms = context.pseudonyms();
            let uids = pseudonyms.uids(&["1.2.3".to_owned(), "1.2.4".to_owned()])?;
            assert_eq!(uids[0], pseudonyms.uid("1.2.3 ")?);
            assert_ne!(uids[0], uids[1]);
            Ok((uids, pseudonyms.subject("7")?, pseudonyms.shift_days("7")?, pseudonyms.key_id()))
        });
        (asked.expect("granted").0, host.record().pseudonym_calls)
    };
    let ((uids, subject, days, key_id), calls) = ask(b"a");
    assert_eq!(ask(b"a").0, (uids.clone(), subject.clone(), days, key_id.clone()));
    let ((other_uids, other_subject, ..), _) = ask(b"b");
    assert!(uids != other_uids && subject != other_subject);
    assert_eq!(calls, 4);
    assert!((1..=3650).contains(&days) && key_id.starts_with("mock-"));
    assert!(
        subject.len() == 16
            && subject.bytes().all(|byte| byte.is_ascii_uppercase() || (b'2'..=b'7').contains(&byte))
    );
    let number: u128 = uids[0].strip_prefix("2.25.").and_then(|rest| rest.parse().ok()).expect("decimal");
    assert_eq!((number >> 76 & 0xf, number >> 62 & 0b11), (8, 0b10));
}

#[test]
fn settings_parse_or_name_themselves_in_the_fault() {
    let host = Host::new().setting("frames", " 12 ").setting("bad", "x");
    let asked = host.call(|_, context| {
        assert_eq!(context.parsed_setting::<u32>("frames")?, Some(12));
        assert_eq!(context.parsed_setting::<u32>("none")?, None);
        assert_eq!(context.parsed_setting::<u32>("bad").expect_err("no number").code(), Some("bad-setting"));
        debug!(context, "{} frames", 12);
        context.required_setting("none")
    });
    assert_eq!(asked.expect_err("missing").code(), Some("missing-setting"));
    assert_eq!(host.record().log, [(Level::Debug, "12 frames".to_owned())]);
}

#[test]
fn a_tensor_payload_reads_back_as_it_was_written() {
    let tensor = Tensor::new(&[1, 2, 3], &[1.0_f32, 2.0, 3.0, 4.0, 5.0, f32::MIN]).expect("fits");
    let host = Host::new().tensor_payload(&tensor).port("tensor");
    let (read, outputs) = host
        .call(|input, context| {
            let read = Tensor::read(input, 24)?;
            read.view().write_output(context, "tensor", &[("frame", "3")])?;
            Ok(read)
        })
        .expect("reads");
    assert_eq!(read.values::<f32>(), tensor.values::<f32>());
    assert_eq!(outputs[0].bytes, tensor.view().bytes());
    let named = ["dtype", "shape", "frame"].map(|name| outputs[0].attribute(name).unwrap_or_default());
    assert_eq!(named, ["f32", "1,2,3", "3"]);
}

#[test]
fn a_tensor_payload_that_contradicts_itself_is_malformed() {
    let read = |dtype: &str, shape: &str| {
        let host =
            Host::new().payload(vec![0; 24], "x/y").attribute("dtype", dtype).attribute("shape", shape);
        host.call(|input, _| Tensor::read(input, 1000)).map(|_| ())
    };
    assert_eq!(read("f32", "2,3"), Ok(()));
    for (dtype, shape) in [
        ("f33", "2,3"),
        ("f64", "2,3"),
        ("f32", "2,-3"),
        ("f32", ""),
        ("f32", "4294967295,4294967295,4294967295"),
        ("f32", "1,1,1,1,1,1,1,2,3"),
    ] {
        let fault = read(dtype, shape).expect_err(shape);
        assert_eq!(fault.code(), Some("bad-tensor"), "{dtype} {shape}");
    }
}

#[test]
fn a_tensor_payload_without_dimensions_is_a_single_number() {
    let number = Tensor::new(&[], &[1.5_f32]).expect("one element");
    let host = Host::new()
        .payload(number.view().bytes(), "x/y")
        .attribute("dtype", "f32")
        .attribute("shape", &crate::shape_text(number.shape()));
    let (read, _) = host.call(|input, _| Tensor::read(input, 1000)).expect("reads");
    assert_eq!((read.shape(), read.values::<f32>()), (&[][..], number.values::<f32>()));
}

#[test]
fn elements_of_another_type_or_number_are_no_tensor_of_that_type() {
    assert!(Tensor::new(&[2, 2], &[1_u8; 5]).is_err());
    let tensor = Tensor::new(&[4], &[1_u8; 4]).expect("fits");
    assert_eq!(tensor.values::<f32>().expect_err("u8").code(), Some("tensor-mismatch"));
}

#[test]
fn unaligned_bytes_still_read_as_numbers() {
    let mut bytes = vec![0_u8];
    for value in [1.5_f64, -2.0] {
        bytes.extend_from_slice(&value.to_le_bytes());
    }
    for start in 0..8 {
        let mut shifted = vec![0_u8; start];
        shifted.extend_from_slice(&bytes[1..]);
        let view = TensorView::from_bytes(ElementType::F64, &[2], &shifted[start..]).expect("fits");
        assert_eq!(view.values::<f64>().expect("f64").as_ref(), &[1.5, -2.0]);
    }
}

#[test]
fn a_model_gets_its_inputs_and_gives_named_outputs() {
    let host = Host::new().model("double", |inputs| {
        let (name, view) = inputs[0];
        assert_eq!(name, "x");
        let doubled: Vec<f32> = view.values::<f32>().expect("f32").iter().map(|value| value * 2.0).collect();
        Ok(vec![("y".to_owned(), Tensor::new(view.shape(), &doubled).expect("same shape"))])
    });
    let ran = host.call(|_, context| {
        let outputs = context.graph("double")?.run(&[("x", TensorView::new(&[1, 2], &[1.0_f32, 4.0])?)])?;
        assert_eq!(outputs.names().collect::<Vec<_>>(), ["y"]);
        assert_eq!(outputs.only()?.shape(), [1, 2]);
        assert_eq!(outputs.values::<f32>("y", &[2]).expect_err("shape").code(), Some("tensor-mismatch"));
        assert_eq!(outputs.tensor("z").expect_err("name").code(), Some("output-missing"));
        outputs.values::<f32>("y", &[1, 2])
    });
    assert_eq!(ran.map(|(values, _)| values), Ok(vec![2.0, 8.0]));
    assert_eq!(host.record().model_runs, ["double"]);
}

#[test]
fn an_error_of_a_model_becomes_a_fault_with_a_code() {
    for (code, expected) in [
        (ErrorCode::InvalidArgument, "tensor-mismatch"),
        (ErrorCode::Timeout, "model-timeout"),
        (ErrorCode::TooLarge, "model-too-large"),
        (ErrorCode::Security, "model-forbidden"),
        (ErrorCode::RuntimeError, "model-failed"),
    ] {
        let host = Host::new().model("m", move |_| Err(NnError { code, text: "words".to_owned() }));
        let fault = host.call(|_, context| context.graph("m")?.run(&[])).expect_err("fails");
        assert_eq!(fault.code(), Some(expected));
    }
}

#[test]
fn nothing_out_of_a_payload_shows_in_a_debug_print() {
    let host = Host::new().payload(b"Doe^John".to_vec(), "a/b").attribute("patient", "Doe");
    let printed = host.call(|input, _| Ok(format!("{input:?} {:?}", input.reader()))).expect("prints").0;
    assert!(!printed.contains("Doe"), "{printed}");
    let tensor = Tensor::new(&[1], &[77_u8]).expect("fits");
    assert_eq!(format!("{tensor:?}"), "u8[1]");
}

struct Tells;

impl crate::Stage for Tells {
    fn process(_: &crate::Payload, context: &crate::Context) -> Result<crate::Outcome, Fault> {
        let word = |name: &str| context.setting(name).unwrap_or_default();
        Ok(crate::Outcome::empty().with_evidence(crate::Evidence {
            profile: word("profile"),
            edition: format!("sha256:{}", "0".repeat(64)),
            actions: vec![crate::ActionCount { action: word("action"), count: 1 }],
            notes: vec![format!("pseudonym-key-{}", context.pseudonyms().key_id())],
        }))
    }
}

#[test]
fn a_word_of_evidence_that_was_not_listed_is_refused_once_any_was() {
    let host = Host::new().setting("profile", "p").setting("action", "a");
    assert!(host.run::<Tells>().is_ok());
    let some = host.evidence("actions", &["a"]);
    let fault = some.run::<Tells>().expect_err("the profile is not listed");
    assert_eq!(fault.code(), Some("guest-evidence"));
    assert!(fault.text().contains("`p`") && fault.text().contains("components.evidence.profiles"), "{fault}");
    let all = some.evidence("profiles", &["o", "p"]);
    assert!(all.run::<Tells>().is_ok());
    assert!(all.setting("action", "b").run::<Tells>().is_err());
}
