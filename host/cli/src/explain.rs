//! `martello explain`: what a reason code means and what to do.

mod shipped;

use std::process::ExitCode;

use martello_engine::explain::{ALL, Explanation};

use crate::output::{Output, exit};
use shipped::SHIPPED;

/// How wide the table is where there is no terminal to ask.
const WIDTH: u16 = 120;

/// Arguments of `martello explain`.
#[derive(Debug, clap::Args)]
pub(crate) struct ExplainArgs {
    /// The code, for example `guest-deadline`, or the words with which several begin, for example `burned-in-risk`. Without
    /// one, all codes are listed.
    code: Option<String>,
}

/// The codes of the host, of the SDK and of the components that ship.
fn known() -> impl Iterator<Item = &'static Explanation> {
    ALL.iter().chain(SHIPPED)
}

pub(crate) fn run(args: &ExplainArgs, output: &Output) -> anyhow::Result<ExitCode> {
    let Some(wanted) = &args.code else {
        let table = || {
            let mut table = comfy_table::Table::new();
            table.load_style(comfy_table::presets::UTF8_HORIZONTAL_ONLY);
            table.set_content_arrangement(comfy_table::ContentArrangement::Dynamic);
            if table.width().is_none() {
                // No terminal: a pager or a file.
                table.set_width(WIDTH);
            }
            table.set_header(["code", "given by", "what it means", "what to do"]);
            for explanation in known() {
                table.add_row([explanation.code, explanation.by, explanation.meaning, explanation.next]);
            }
            table.to_string()
        };
        output.result(table, &known().collect::<Vec<_>>())?;
        return Ok(ExitCode::SUCCESS);
    };
    // What stands behind a dot is a peer's word, as in `refused-by-peer.C000`.
    let word = wanted.split('.').next().unwrap_or_default();
    let Some(found) = known().find(|explanation| explanation.code == word) else {
        let family: Vec<&Explanation> = family(word).collect();
        if !family.is_empty() {
            let text = || family.iter().map(|it| sentence(it)).collect::<Vec<_>>().join("\n");
            output.result(text, &family)?;
            return Ok(ExitCode::SUCCESS);
        }
        return Ok(output.failure(
            exit::USAGE,
            &format!("there is no reason code `{wanted}`"),
            "martello explain, which lists all codes, or the README of the component that gave it",
        ));
    };
    output.result(|| sentence(found), found)?;
    Ok(ExitCode::SUCCESS)
}

/// The codes that begin with these words, as those of one kind of refusal do.
fn family(words: &str) -> impl Iterator<Item = &'static Explanation> {
    let prefix = format!("{words}-");
    known().filter(move |explanation| words.len() > 3 && explanation.code.starts_with(&prefix))
}

fn sentence(explanation: &Explanation) -> String {
    format!("{}: {}\n  try: {}", explanation.code, explanation.meaning, explanation.next)
}

#[cfg(test)]
mod tests {
    use martello_vocab::Code;

    use super::*;

    #[test]
    fn every_code_that_the_shipped_bundle_declares_is_explained() {
        let source: toml::Value =
            toml::from_str(include_str!("../../../components/imaging/bundle.toml")).unwrap();
        let mut declared = 0;
        for component in source["components"].as_array().unwrap() {
            for code in component["codes"].as_array().unwrap() {
                let code = code.as_str().unwrap();
                assert!(known().any(|explanation| explanation.code == code), "{code} has no explanation");
                declared += 1;
            }
        }
        assert!(declared > 40, "{declared}");
    }

    #[test]
    fn the_codes_that_the_sdk_gives_are_those_that_the_host_takes_undeclared_and_each_is_explained() {
        use std::collections::BTreeSet;
        let known_to_host: BTreeSet<&str> = Code::OF_THE_SDK.into();
        let readme = include_str!("../../../guest-sdk/README.md");
        let (_, listed) = readme.split_once("## Codes that the SDK gives").unwrap();
        let listed: BTreeSet<&str> = {
            let quoted = listed.split("## ").next().unwrap().split('`').skip(1).step_by(2);
            quoted.filter(|quoted| !quoted.contains(' ')).collect()
        };
        assert_eq!(listed, known_to_host);
        for code in &known_to_host {
            assert!(known().any(|explanation| explanation.code == *code), "{code} has no explanation");
        }
        // A fault's text begins with its code, and so does no other text of the SDK.
        let sources = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../guest-sdk/src");
        let mut given = BTreeSet::new();
        for file in
            ["context", "fault", "nn", "payload", "sink", "tensor", "kernels/resample", "kernels/rescale"]
        {
            let source = std::fs::read_to_string(sources.join(file).with_extension("rs")).unwrap();
            let source = source.split("#[cfg(test)]").next().unwrap();
            for text in source.split('"').skip(1) {
                let code = text
                    .split_once(": ")
                    .map_or_else(|| text.strip_prefix("model-").and(Some(text)), |it| Some(it.0));
                let is_word = |code: &&str| {
                    !code.is_empty() && code.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-')
                };
                given.extend(code.filter(is_word).map(ToOwned::to_owned));
            }
        }
        let given: BTreeSet<&str> = given.iter().map(String::as_str).collect();
        assert_eq!(given, known_to_host);
    }

    #[test]
    fn each_rule_by_which_pixels_are_a_risk_has_a_code_of_its_own_that_names_its_attribute() {
        let rules: Vec<&Explanation> = family("burned-in-risk").collect();
        assert_eq!(rules.len(), 9);
        for rule in rules {
            let names_one = rule.meaning.contains("(0") || rule.meaning.contains("60xx");
            assert!(names_one, "{}: {}", rule.code, rule.meaning);
        }
        assert_eq!(family("burned").count(), 10, "with what the verifier says");
        assert_eq!(family("").count(), 0);
    }

    #[test]
    fn the_page_of_codes_is_the_table_of_this_command() {
        let page = include_str!("../../CODES.md");
        for explanation in known() {
            let row = format!(
                "| `{}` | {} | {} | {} |",
                explanation.code, explanation.by, explanation.meaning, explanation.next
            );
            assert!(page.contains(&row), "host/CODES.md lacks this row:\n{row}");
        }
    }
}
