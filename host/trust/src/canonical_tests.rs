use proptest::collection::{btree_map, vec};
use proptest::prelude::*;

use super::*;

fn parse(text: &str) -> Result<Value, JsonError> {
    Value::parse(text.as_bytes(), Numbers::Fractions)
}

fn canonical(text: &str) -> String {
    String::from_utf8(parse(text).unwrap().to_canonical()).unwrap()
}

#[test]
fn keys_are_sorted_space_is_dropped_and_only_quote_and_backslash_are_escaped() {
    let text = r#" { "b" : [ true , null, "\u00e9\u002f\"\\" ] , "a" : -0 , "B":{} } "#;
    assert_eq!(canonical(text), r#"{"B":{},"a":0,"b":[true,null,"é/\"\\"]}"#);
}

/// RFC 8785 appendix B, as far as its numbers are within ±(2^53 − 1).
#[test]
fn numbers_are_written_as_rfc_8785_writes_them() {
    for (bits, text) in [
        (0x0000_0000_0000_0000_u64, "0"),
        (0x8000_0000_0000_0000, "0"),
        (0x0000_0000_0000_0001, "5e-324"),
        (0x8000_0000_0000_0001, "-5e-324"),
        (0x3eb0_c6f7_a0b5_ed8d, "0.000001"),
        (0x3eb0_c6f7_a0b5_ed8c, "9.999999999999997e-7"),
        (0x41b3_de43_5555_53e3, "333333333.3333332"),
        (0x41b3_de43_5555_5555, "333333333.3333334"),
        (0xbecb_f647_612f_3696, "-0.0000033333333333333333"),
        (0x4143_ff3c_1cb0_959c, "2621048.2240972444"),
    ] {
        let number = f64::from_bits(bits);
        let written = Value::Float(number).to_canonical();
        let written = std::str::from_utf8(&written).unwrap();
        // The last two rows are not of the RFC: what counts is that they read back.
        assert!(written == text || written.parse::<f64>().unwrap() == number, "{written} {text}");
        if bits < 0x4143_ff3c_1cb0_959c || bits == 0x8000_0000_0000_0001 {
            assert_eq!(written, text);
        }
    }
}

#[test]
fn a_fraction_that_is_whole_is_written_as_an_integer() {
    assert_eq!(canonical("[1.0, 1e2, 1E+2, -5.50, 100e-2]"), "[1,100,100,-5.5,1]");
}

#[test]
fn what_could_be_read_in_two_ways_is_refused() {
    for text in [
        r#"{"a":1,"a":1}"#,
        r#"{"a":1,"\u0061":2}"#,
        r#"{"é":1}"#,
        "{\"a\\u0000\":1}",
        r#""\u0000""#,
        r#""\n""#,
        "\"\u{1}\"",
        r#""\ud800""#,
        "9007199254740992",
        "-9007199254740992",
        "18446744073709551616",
        "9007199254740992.0",
        "1e400",
        "NaN",
        "01",
        "+1",
        ".5",
        "1.",
        "[1,]",
        "{} {}",
        "{}x",
        "",
        "\u{feff}{}",
        "// no\n{}",
    ] {
        assert!(parse(text).is_err(), "{text}");
    }
    assert!(Value::parse(b"\"\xff\"", Numbers::Fractions).is_err());
}

#[test]
fn fractions_are_refused_where_the_kind_of_document_has_integers_alone() {
    for text in ["1.5", "1.0", "[1e3]", r#"{"a":-0.0}"#] {
        assert!(Value::parse(text.as_bytes(), Numbers::Integers).is_err(), "{text}");
        assert!(parse(text).is_ok(), "{text}");
    }
}

#[test]
fn nesting_ends_at_32() {
    for (open, close) in [("[", "]"), (r#"{"a":"#, "}")] {
        let nested = |depth: usize| format!("{}1{}", open.repeat(depth), close.repeat(depth));
        assert!(parse(&nested(DEEPEST)).is_ok());
        assert!(parse(&nested(DEEPEST + 1)).is_err());
        assert!(parse(&nested(100_000)).is_err());
    }
}

pub(crate) fn values() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        (-GREATEST_INTEGER..=GREATEST_INTEGER).prop_map(Value::Integer),
        // What is whole reads back as an integer, which is another value with the same canonical bytes.
        any::<f64>()
            .prop_filter("in range, not whole", |it| it.abs() < 9e15 && it.fract() != 0.0)
            .prop_map(Value::Float),
        "[^\\x00-\\x1f]{0,12}".prop_map(Value::Text),
    ];
    leaf.prop_recursive(5, 48, 6, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..6).prop_map(Value::List),
            btree_map("[ -~]{0,8}", inner, 0..6).prop_map(Value::Object),
        ]
    })
}

proptest! {
    #[test]
    fn canonical_bytes_read_back_as_the_same_value(value in values()) {
        let bytes = value.to_canonical();
        let read = Value::parse(&bytes, Numbers::Fractions).unwrap();
        prop_assert_eq!(&read, &value);
        prop_assert_eq!(read.to_canonical(), bytes);
    }

    #[test]
    fn canonical_bytes_are_json_that_others_read_alike(value in values()) {
        let other: serde_json::Value = serde_json::from_slice(&value.to_canonical()).unwrap();
        let pretty = serde_json::to_vec_pretty(&other).unwrap();
        prop_assert_eq!(Value::parse(&pretty, Numbers::Fractions).unwrap().to_canonical(), value.to_canonical());
    }

    #[test]
    fn any_text_is_read_or_refused_and_what_is_read_is_stable(bytes in vec(any::<u8>(), 0..64)) {
        crate::fuzz::fuzz_canonical(&bytes);
    }

    #[test]
    fn changed_json_is_read_or_refused_and_what_is_read_is_stable(
        value in values(), from in any::<proptest::sample::Index>(), cut in 0_usize..4, with in vec(any::<u8>(), 0..4)
    ) {
        let mut bytes = value.to_canonical();
        let from = from.index(bytes.len());
        bytes.splice(from..(from + cut).min(bytes.len()), with);
        crate::fuzz::fuzz_canonical(&bytes);
    }
}
