//! De-identifies files natively with the mock host's key: for the oracle and for timing, never for patients.
//!
//! `deidentify OUT FILE...` writes `OUT/<name>` and one line a file: name, code or `ok`.
//! `deidentify --time ROUNDS FILE...` says how many files a second the core function does in memory.
#![expect(clippy::print_stdout, reason = "an example talks to its caller")]

use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use dicom_deid::{Deidentifier, Host, Options, PixelRisk, Refusal, Table, deidentify};
use dicom_stream::SliceSource;
use martello_guest_sdk::mock;

const TABLE: &[u8] = include_bytes!("../table/table.txt");

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["--time", rounds, files @ ..] => time(rounds.parse()?, files),
        [out, files @ ..] if !files.is_empty() => write(Path::new(out), files),
        _ => bail!("deidentify OUT FILE... | deidentify --time ROUNDS FILE..."),
    }
}

fn write(out: &Path, files: &[&str]) -> Result<()> {
    let settings: Vec<(String, String)> = std::env::vars()
        .filter_map(|(name, value)| {
            Some((name.strip_prefix("DEID_")?.to_lowercase().replace('_', "-"), value))
        })
        .collect();
    for file in files {
        let bytes = std::fs::read(file).with_context(|| format!("reading {file}"))?;
        let mut host = mock::Host::new()
            .payload(bytes, "application/dicom")
            .asset("deid-table", TABLE)
            .port("image")
            .setting("pixel-risk", "dangerously-accept")
            .pseudonym_key(b"a key for tests, 32 bytes long!!");
        for (name, value) in &settings {
            host = host.setting(name, value);
        }
        let name = Path::new(file).file_name().context("naming the output")?;
        match host.run::<Deidentifier>() {
            Ok((_, outputs)) => {
                let [output] = outputs.as_slice() else { bail!("{file}: not one output") };
                std::fs::write(out.join(name), &output.bytes)?;
                println!("{} ok", name.display());
            }
            Err(fault) => println!("{} {fault}", name.display()),
        }
    }
    Ok(())
}

/// Stand-ins: what they cost is the host's affair.
#[derive(Default)]
struct StandIns(Vec<u8>);

impl Host for StandIns {
    fn uids(&mut self, values: &[String]) -> Result<Vec<String>, Refusal> {
        Ok(values.iter().map(|_| "2.25.329800735698586629295641978511506172918".to_owned()).collect())
    }

    fn subject(&mut self, _: &str) -> Result<String, Refusal> {
        Ok("ABCDEFGHIJKLMNOP".to_owned())
    }

    fn shift_days(&mut self, _: &str) -> Result<u32, Refusal> {
        Ok(1234)
    }

    fn open(&mut self, _: &[(&str, String)]) -> Result<(), Refusal> {
        self.0.clear();
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), Refusal> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }
}

fn time(rounds: u32, files: &[&str]) -> Result<()> {
    let contents = files.iter().map(std::fs::read).collect::<Result<Vec<_>, _>>()?;
    let options = Options { pixel_risk: PixelRisk::DangerouslyAccept, ..Options::default() };
    let mut host = StandIns::default();
    let (mut done, mut bytes) = (0_u32, 0);
    let begin = Instant::now();
    for content in (0..rounds).flat_map(|_| &contents) {
        let table = Table::parse(TABLE)?;
        if deidentify(SliceSource::new(content), &table, options, &mut host).is_ok() {
            done += 1;
            bytes += content.len();
        }
    }
    let seconds = begin.elapsed().as_secs_f64();
    println!("{done} files, {bytes} bytes in {seconds:.3} s: {:.0} files/s", f64::from(done) / seconds);
    Ok(())
}
