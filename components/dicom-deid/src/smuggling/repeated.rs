//! What is repeated in values that stay.

use super::*;
use crate::smuggling::trees::{Form, Node, write};

#[test]
fn a_kept_value_that_repeats_what_goes_is_emptied_and_the_others_stay() {
    let (out, _, summary) = explicit(&|w| {
        identity_before(w, 0x0008_0070, 0);
        put(w, 0x0008_0070, Vr::LO, b"Acme");
        put(w, 0x0008_0080, Vr::LO, b"Acme Laboratory");
        put(w, 0x0008_1090, Vr::LO, b"Acme Laboratory 3000");
        identity_before(w, u32::MAX, 0x0008_0070);
        w.sequence(Tag(0x0010_1002));
        w.item();
        put(w, 0x0010_0020, Vr::LO, b"OTHER-4");
        w.item_end().unwrap();
        w.sequence_end().unwrap();
        put(w, 0x0018_0050, Vr::DS, b"5.0");
        put(w, 0x0018_1020, Vr::LO, b"1.0\\for other-4.");
        put(w, 0x0018_1160, Vr::SH, b"von Acme");
        put(w, 0x0018_1210, Vr::SH, b"STD\\SOFT");
        put(w, 0x0018_7050, Vr::CS, b"AT ACME LABORATORY");
        put(w, 0x0020_0013, Vr::IS, b"47114711");
        put(w, 0x0028_2000, Vr::OB, b"icc\0ZZMARKPID5\0");
    });
    for (tag, expected) in [
        (0x0008_0070, "Acme"),
        (0x0008_1090, "Acme Laboratory 3000"),
        (0x0018_0050, "5.0"),
        (0x0018_1020, ""),
        (0x0018_1160, ""),
        (0x0018_1210, "STD\\SOFT"),
        (0x0018_7050, ""),
        (0x0020_0013, ""),
        (0x0028_2000, ""),
    ] {
        assert_eq!(value(&out, &[tag]).as_deref(), Some(expected), "{tag:08x}");
    }
    assert!(summary.notes.contains(&"residual-identity-emptied"));
}

#[test]
fn large_values_are_searched_to_their_end_and_what_is_too_large_to_search_is_text_that_goes() {
    let padded = |length: usize| [vec![b' '; length - 10], b"ZZMARKPID5".to_vec()].concat();
    for (tag, vr, length, stays) in [
        (0x0028_2000, Vr::OB, 64 * 1024 + 2, Some("")),
        (0x0028_2000, Vr::OB, 1 << 20, Some("")),
        (0x0018_1020, Vr::UT, 1 << 20, Some("")),
        (0x0018_1020, Vr::UT, (1 << 20) + 2, None),
    ] {
        let (out, _, _) = explicit(&|w| {
            identity(w);
            put(w, tag, vr, &padded(length));
        });
        assert_eq!(value(&out, &[tag]).as_deref(), stays, "{tag:08x} {length}");
    }
}

#[test]
fn a_name_that_only_a_removed_sequence_gives_is_looked_for_too() {
    for form in [Form::Open, Form::Closed, Form::OpenUnknown, Form::Unknown(Encoding::ImplicitLittle)] {
        let person = vec![vec![
            Node::Element(0x0010_0020, *b"LO", b"OTHER-4"),
            Node::Sequence(
                0x0040_1101,
                Form::Open,
                vec![vec![Node::Element(0x0040_A123, *b"PN", b"Earlier^Name")]],
            ),
        ]];
        let (out, _, _) = explicit(&|w| {
            write(w, &[Node::Sequence(0x0010_1002, form, person.clone())]);
            put(w, 0x0018_1160, Vr::SH, b"for EARLIER");
            put(w, 0x0018_1210, Vr::SH, b"Other-4");
            put(w, 0x0018_7050, Vr::CS, b"MOLYBDENUM");
        });
        assert_eq!(value(&out, &[0x0018_1160]).as_deref(), Some(""), "{form:?}");
        assert_eq!(value(&out, &[0x0018_1210]).as_deref(), Some(""), "{form:?}");
        assert_eq!(value(&out, &[0x0018_7050]).as_deref(), Some("MOLYBDENUM"), "{form:?}");
    }
}

#[test]
fn a_name_or_a_date_in_another_representation_is_looked_for_too() {
    for vr in [Vr::OB, Vr::UT, Vr::UN, Vr::LO, Vr::PN] {
        let (out, _, _) = explicit(&|w| {
            put(w, 0x0010_0010, vr, b"Earlier^Name");
            put(w, 0x0010_0030, vr, b"19310317");
            put(w, 0x0018_1160, Vr::SH, b"for EARLIER");
            put(w, 0x0018_7050, Vr::CS, b"17.03.1931");
        });
        assert_eq!(value(&out, &[0x0018_1160]).as_deref(), Some(""), "{vr:?}");
        assert_eq!(value(&out, &[0x0018_7050]).as_deref(), Some(""), "{vr:?}");
    }
}

#[test]
fn what_the_next_stage_is_told_names_nobody() {
    for (modality, expected) in [(b"CT".as_slice(), Some("CT")), (b"ZZMARKFAM", None), (b"C T", None)] {
        let (_, host, _) = explicit(&|w| {
            put(w, 0x0008_0060, Vr::CS, modality);
            put(w, 0x0010_0010, Vr::PN, b"ZZMARKFAM^G");
        });
        let told =
            host.attributes.iter().find(|(name, _)| name == "modality").map(|(_, value)| value.as_str());
        assert_eq!(told, expected);
    }
}

#[test]
fn names_in_other_scripts_go_and_so_do_their_repetitions() {
    let (out, _, _) = explicit(&|w| {
        put(w, 0x0008_0005, Vr::CS, b"ISO_IR 192");
        put(w, 0x0010_0010, Vr::PN, "Yamada^Tarou=山田^太郎=やまだ^たろう".as_bytes());
        put(w, 0x0018_1160, Vr::SH, "山田".as_bytes());
        put(w, 0x0018_1210, Vr::SH, "柔らかい".as_bytes());
    });
    assert!(!holds(&out, "山田") && !holds(&out, "Yamada") && !holds(&out, "たろう"));
    assert_eq!(value(&out, &[0x0018_1210]).as_deref(), Some("柔らかい"), "other text keeps its characters");
    assert_eq!(value(&out, &[0x0008_0005]).as_deref(), Some("ISO_IR 192"));
    let name = value(&out, &[0x0010_0010]).unwrap();
    assert!(name.starts_with("PSEUDONYM") && name.is_ascii(), "{name}");
}

#[test]
fn a_class_that_is_also_the_name_of_a_thing_is_none() {
    let (out, _, _) = explicit(&|w| {
        put(w, 0x0008_0016, Vr::UI, b"2.999.4711.1");
        put(w, 0x0008_0018, Vr::UI, b"2.999.4711.1");
        put(w, 0x0008_010C, Vr::UI, b"1.3.6.1.4.1.5962.98.1");
    });
    assert!(!holds(&out, "2.999."), "in the file meta group neither");
    assert_eq!(value(&out, &[0x0008_0016]).as_deref(), Some(""));
    assert_eq!(value(&out, &[0x0008_010C]).as_deref(), Some("1.3.6.1.4.1.5962.98.1"));
}
