//! `martello explain`: what a reason code means and what to do.

use std::process::ExitCode;

use martello_engine::explain::{self, Explanation};

use crate::output::{Output, exit};

/// Arguments of `martello explain`.
#[derive(Debug, clap::Args)]
pub(crate) struct ExplainArgs {
    /// The code, for example `guest-deadline`. Without one, all codes are listed.
    code: Option<String>,
}

pub(crate) fn run(args: &ExplainArgs, output: &Output) -> anyhow::Result<ExitCode> {
    let Some(code) = &args.code else {
        let table = || {
            let mut table = comfy_table::Table::new();
            table.load_style(comfy_table::presets::UTF8_HORIZONTAL_ONLY);
            table.set_content_arrangement(comfy_table::ContentArrangement::Dynamic);
            table.set_header(["code", "what it means", "what to do"]);
            for known in explain::ALL {
                table.add_row([known.code, known.meaning, known.next]);
            }
            table.to_string()
        };
        output.result(table, &explain::ALL)?;
        return Ok(ExitCode::SUCCESS);
    };
    match explain::of(code) {
        Some(Explanation { code, meaning, next, .. }) => {
            output.result(|| format!("{code}: {meaning}\n  try: {next}"), &explain::of(code))?;
            Ok(ExitCode::SUCCESS)
        }
        None => Ok(output.failure(
            exit::USAGE,
            &format!("there is no reason code `{code}`"),
            "martello explain, which lists all codes",
        )),
    }
}
